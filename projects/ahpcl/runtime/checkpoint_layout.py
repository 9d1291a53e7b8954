"""Whose checkpoint is it, told from its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OURS = 'openmmlab'
#: Where checkpoints keep weights: mmengine, MoCo and SwAV; DeiT and others;
#: DINO (the teacher is the one to use); averages; VISSL.
PLACES = (
    *('state_dict', 'model', 'teacher', 'student', 'model_ema', 'ema'),
    *('state_dict_ema', 'classy_state_dict'),
)
#: Family of layouts -> whose it is, for messages.
FAMILIES = {
    OURS: 'mmselfsup, mmpretrain or this project (backbone.*)',
    'momentum': 'PCL, MoCo or HCSC (encoder_q.*)',
    'mocov3': 'MoCo v3 (base_encoder.*)',
    'simsiam': 'SimSiam (encoder.*)',
    'swav': 'SwAV (layer1.* with projection_head.* or prototypes.*)',
    'plain': 'torchvision (layer1.*)',
}
_WRAPPER = 'module.'


def parts_of(checkpoint: Any) -> dict[str, Mapping[str, Any]]:
    """All that a checkpoint holds of weights.

    Args:
        checkpoint: What a file holds.

    Returns:
        The weights by the key that they stand under, one of :data:`PLACES`;
        under ``''`` where the file holds them alone. Empty if there are none.
    """
    if not isinstance(checkpoint, Mapping):
        return {}
    found = {key: checkpoint.get(key) for key in PLACES}
    found['classy_state_dict'] = _vissl_trunk(found['classy_state_dict'])
    parts = {key: state for key, state in found.items() if _is_state(state)}
    if not parts and _is_state(checkpoint):
        parts[''] = checkpoint
    return parts


def state_of(checkpoint: Any, part: str | None = None) -> Mapping[str, Any]:
    """The weights in a checkpoint.

    Args:
        checkpoint: What a file holds: a dict with ``state_dict`` or another
            of :data:`PLACES`, or the weights alone.
        part: The one to take; None for ``state_dict``, else for the only one.

    Returns:
        The weights by their names in the file.

    Raises:
        ValueError: If there are none, there is no such part, or there are
            several and none is named.
    """
    parts = parts_of(checkpoint)
    names = ', '.join(filter(None, parts))
    if part is not None and part not in parts:
        raise ValueError(
            f'expected one of the parts that the checkpoint holds '
            f'({names or "weights without a name"}), got {part!r}'
        )
    if part is None:
        if not parts:
            keys = []
            if isinstance(checkpoint, Mapping):
                keys = list(map(str, checkpoint.get(PLACES[0]) or checkpoint))
            raise ValueError(
                "expected weights by name, or a dict with 'state_dict', got "
                f'{type(checkpoint).__name__} '
                f'{keys[:4] if keys else "of no such kind"}'
            )
        part = PLACES[0] if PLACES[0] in parts else next(iter(parts))
        if len(parts) > 1 and part != PLACES[0]:
            raise ValueError(
                f'expected to be told which weights to take, got {names}: '
                f'name one of them, such as with --part {names.split(", ")[0]}'
            )
    return parts[part]


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        hasattr(item, 'shape') for item in value.values()
    )


def _vissl_trunk(kept: Any) -> dict[str, Any] | None:
    """The backbone in a checkpoint of VISSL, in torchvision's names."""
    for key in ('base_model', 'model', 'trunk'):
        kept = kept.get(key) if isinstance(kept, Mapping) else None
    if not isinstance(kept, Mapping):
        return None
    return {key.removeprefix('_feature_blocks.'): v for key, v in kept.items()}


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
    if has('base_encoder.'):
        return 'mocov3'
    if has('encoder.layer1.'):
        return 'simsiam'
    if not has('layer1.'):
        return None
    return 'swav' if has('projection_head.', 'prototypes.') else 'plain'
