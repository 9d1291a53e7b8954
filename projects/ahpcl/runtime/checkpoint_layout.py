"""Whose checkpoint is it, told from its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OURS = 'openmmlab'
#: Family of layouts -> whose it is, for messages.
FAMILIES = {
    OURS: 'mmselfsup, mmpretrain or this project (backbone.*)',
    'momentum': 'PCL, MoCo or HCSC (encoder_q.*)',
    'swav': 'SwAV (layer1.* with projection_head.* or prototypes.*)',
    'plain': 'torchvision (layer1.*)',
}
_WRAPPER = 'module.'


def state_of(checkpoint: Any) -> Mapping[str, Any]:
    """The weights in a checkpoint.

    Args:
        checkpoint: What a file holds: a dict with ``state_dict``, or the
            weights alone.

    Returns:
        The weights by their names in the file.

    Raises:
        ValueError: If there are none.
    """
    state = checkpoint
    if isinstance(checkpoint, Mapping) and 'state_dict' in checkpoint:
        state = checkpoint['state_dict']
    tensors = isinstance(state, Mapping) and any(
        hasattr(value, 'shape') for value in state.values()
    )
    if not tensors:
        keys = list(map(str, state))[:4] if isinstance(state, Mapping) else []
        raise ValueError(
            "expected weights by name, or a dict with 'state_dict', got "
            f'{type(state).__name__} {keys if keys else "of no such kind"}'
        )
    return state


def unwrapped_key(key: str) -> str:
    """A key without the prefix that a parallel wrapper gave it."""
    return key.removeprefix(_WRAPPER)


def find_family(state: Mapping[str, Any]) -> str | None:
    """Tells the family of layouts from the keys.

    Args:
        state: Weights by name, with or without ``module.`` in front.

    Returns:
        A key of :data:`FAMILIES`, or None if it is none of them.
    """
    keys = [unwrapped_key(key) for key in state]

    def has(*prefixes: str) -> bool:
        return any(key.startswith(prefixes) for key in keys)

    if has('backbone.'):
        return OURS
    if has('encoder_q.'):
        return 'momentum'
    if not has('layer1.'):
        return None
    return 'swav' if has('projection_head.', 'prototypes.') else 'plain'
