"""Refuses checkpoints that do not fit, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from torch import nn

from ahpcl.models.protocols import UpgradesState
from ahpcl.runtime.checkpoint_layout import (
    FAMILIES,
    OURS,
    PLACES,
    find_family,
    parts_of,
    state_of,
    unwrapped_key,
)
from ahpcl.runtime.state_difference import (
    StateDifference,
    compare_states,
    name_keys,
)
from ahpcl.runtime.train_state import is_resume
from ahpcl.utils.ranks import unwrap

_BACKBONE = 'backbone.'
_CONVERTER = 'tools/model_converters/import_checkpoint.py'


@HOOKS.register_module()
class StartCheckpointHook(Hook):
    """Compares a checkpoint with the model before it is loaded.

    mmengine loads what fits and warns of the rest, so that a run from a
    checkpoint of another layout or architecture starts with random weights.
    Here

    - ``load_from`` (training and testing) asks for a backbone that fits key
      by key. Necks, heads, queues and memories that differ are left out, and
      one line of the log names them: so one method starts from another's
      checkpoint;
    - ``resume`` asks for everything to fit.

    A model without weights in its backbone takes what it is given.
    """

    # After hooks that change what was loaded.
    priority = 'VERY_LOW'

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Checks the weights; takes out, in place, those that do not fit.

        Args:
            runner: The runner.
            checkpoint: What has been read from the file.

        Raises:
            ValueError: If the layout is unknown, the backbone does not fit,
                or, on resume, anything else does not.
        """
        name = getattr(runner, '_load_from', None) or 'the checkpoint'
        fit_checkpoint(
            unwrap(runner.model), checkpoint, name, resume=is_resume(runner)
        )


def fit_checkpoint(
    model: nn.Module, checkpoint: dict, name: str, *, resume: bool = False
) -> None:
    """Checks weights; takes out, in place, those that do not fit.

    Args:
        model: Unwrapped.
        checkpoint: What has been read from the file.
        name: Name of the file, for messages.
        resume: Ask for everything to fit, not for the backbone alone.

    Raises:
        ValueError: If the layout is unknown, the backbone does not fit, or,
            on resume, anything else does not.
    """
    own = model.state_dict()
    if not any(key.startswith(_BACKBONE) for key in own):
        return
    state = _checked_layout(checkpoint, name)
    if isinstance(model, UpgradesState):
        model.upgrade_state_dict(state)
    given = {unwrapped_key(key): value for key, value in state.items()}
    difference = compare_states(own, given)
    backbone = _only_backbone(difference)
    if backbone:
        raise ValueError(
            f'expected a checkpoint that fits {_backbone_of(model)}, got '
            f'another architecture in {name}: {backbone.describe()}; '
            'change model.backbone (depth, channels, stages) to that of '
            'the checkpoint, or take another checkpoint'
        )
    if resume:
        _check_resume(checkpoint, difference, name)
    elif difference:
        _leave_out(state, difference)
        print_log(_report(name, difference), logger='current')


def _checked_layout(checkpoint: Any, name: str) -> dict:
    """The weights, if they are named as in this ecosystem."""
    parts = parts_of(checkpoint)
    if parts and not {'', PLACES[0]} & parts.keys():
        # mmengine would look for weights beside them, and find none.
        first = next(iter(parts))
        raise ValueError(
            f"expected a checkpoint with weights under '{PLACES[0]}', got "
            f'{name} with weights under {", ".join(parts)}; take one of them: '
            f'python {_CONVERTER} {name} OUT.pth --part {first}'
        )
    try:
        state = state_of(checkpoint)
    except ValueError as error:
        raise ValueError(f'{name} has no known layout: {error}') from None
    family = find_family(state)
    if family == OURS and isinstance(state, dict):
        return state
    keys = name_keys(list(map(str, state)))
    if family is None:
        raise ValueError(
            f"expected a checkpoint with keys '{_BACKBONE}*', got {name} of "
            f'an unknown layout: {keys}; known are those of '
            f'{"; ".join(FAMILIES.values())}'
        )
    raise ValueError(
        f"expected a checkpoint with keys '{_BACKBONE}*', got {name} in the "
        f'layout of {FAMILIES[family]}: {keys}; convert it first: python '
        f'{_CONVERTER} {name} OUT.pth'
    )


def _check_resume(
    checkpoint: dict, difference: StateDifference, name: str
) -> None:
    """Raises unless a run can go on from the checkpoint."""
    if difference:
        reason = f'of another model or settings: {difference.describe()}'
    elif 'meta' not in checkpoint:
        reason = 'which holds weights alone'
    else:
        return
    raise ValueError(
        'expected a checkpoint of this very model to resume from, got '
        f'{name}, {reason}; to start from its weights, use load_from=... '
        'with resume=False'
    )


def _only_backbone(difference: StateDifference) -> StateDifference:
    return StateDifference(
        *(
            tuple(
                entry
                for entry in entries
                if (entry if isinstance(entry, str) else entry[0]).startswith(
                    _BACKBONE
                )
            )
            for entries in (
                difference.missing,
                difference.unexpected,
                difference.mis_shaped,
            )
        )
    )


def _leave_out(state: dict, difference: StateDifference) -> None:
    """Takes out what the model cannot take, and keeps the dict itself."""
    wrong = {*difference.unexpected, *(e[0] for e in difference.mis_shaped)}
    for key in [key for key in state if unwrapped_key(key) in wrong]:
        del state[key]


def _report(name: str, difference: StateDifference) -> str:
    """One line that names what was not loaded."""
    parts = {
        'left out, as the model has no such weights': difference.unexpected,
        'left out, as their shapes differ': [
            entry[0] for entry in difference.mis_shaped
        ],
        'not in it, so initialised at random': difference.missing,
    }
    return f'{name}: the backbone fits; ' + '; '.join(
        f'{reason}: {_by_part(keys)}' for reason, keys in parts.items() if keys
    )


def _by_part(keys: Sequence[str], limit: int = 4) -> str:
    """Keys by name, but those of a part with many of them together."""
    parts: dict[str, list[str]] = {}
    for key in keys:
        parts.setdefault(key.partition('.')[0], []).append(key)
    return ', '.join(
        ', '.join(found)
        if len(found) <= limit
        else f'{part}.* ({len(found)} keys)'
        for part, found in parts.items()
    )


def _backbone_of(model: nn.Module) -> str:
    """Such as ``ResNet(depth=18)``."""
    backbone = model.backbone
    depth = getattr(backbone, 'depth', None)
    shown = '' if depth is None else f'(depth={depth})'
    return f'the backbone {type(backbone).__name__}{shown}'
