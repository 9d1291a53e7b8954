"""Takes checkpoints of several projects apart: encoders, necks, prototypes.

The layouts, as published:

- PCL (v1, v2), MoCo (v1, v2), HCSC: ``state_dict`` with
  ``module.encoder_q.*`` and mostly ``module.encoder_k.*``, torchvision's names
  with the neck as ``fc`` (v1, one layer) or ``fc.0`` and ``fc.2`` (v2),
  ``module.queue`` and ``module.queue_ptr``; HCSC also ``module.queue_index``.
  PCL and MoCo cannot be told apart by their keys.
- SwAV: ``module.*`` in torchvision's names, ``projection_head`` and
  ``prototypes``; while training in ``state_dict``, as published the weights
  alone.
- mmselfsup and what is built on it, this project included: ``backbone.*``,
  ``neck.*``, the key encoder as ``encoder_k.0.*`` or ``encoder_k.module.0.*``
  (backbone) and ``1`` (neck).
- torchvision: the backbone's names alone, with or without ``fc``; so are the
  weights of many programs that keep them under ``model`` and, for the trunk,
  VISSL's under ``classy_state_dict``.
- MoCo v3 and SimSiam: ``module.base_encoder.*`` and
  ``module.momentum_encoder.*``, or ``module.encoder.*``, in torchvision's
  names, with projections as ``fc`` that no neck here has, and a predictor.
- DINO: ``teacher`` (the one to use) and ``student``, each with
  ``backbone.*`` in torchvision's names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ahpcl.runtime.checkpoint_layout import (
    FAMILIES,
    OURS,
    find_family,
    state_of,
    unwrapped_key,
)
from ahpcl.runtime.state_difference import name_keys

#: What ``--from`` takes -> family of layouts.
LAYOUTS = {
    'pcl': 'momentum',
    'moco': 'momentum',
    'hcsc': 'momentum',
    'swav': 'swav',
    'ahpcl': OURS,
    'mmselfsup': OURS,
    'mocov3': 'mocov3',
    'simsiam': 'simsiam',
    'torchvision': 'plain',
}
KEY_PREFIXES = ('encoder_k.module.', 'encoder_k.')
State = dict[str, Tensor]


@dataclass(frozen=True)
class Parts:
    """A checkpoint taken apart, every part by its own names.

    Attributes:
        layout: Whose layout it is, for people.
        backbone: Weights of the query encoder, or the only one.
        neck: Weights of the query encoder, in this ecosystem's names.
        key_backbone: Weights of the key encoder; empty where there is none.
        key_neck: Weights of the key encoder.
        prototypes: SwAV's, (K, D) by name: ``weight``, or
            ``prototypes0.weight`` and so on.
    """

    layout: str
    backbone: State
    neck: State = field(default_factory=dict)
    key_backbone: State = field(default_factory=dict)
    key_neck: State = field(default_factory=dict)
    prototypes: State = field(default_factory=dict)


def take_apart(
    checkpoint: Any, layout: str = 'auto', part: str | None = None
) -> Parts:
    """Finds the parts of a checkpoint.

    Args:
        checkpoint: What a file holds.
        layout: A key of :data:`LAYOUTS`, or ``auto``.
        part: The weights to take, a key of the file; None for
            ``state_dict``, or the only ones.

    Returns:
        The parts.

    Raises:
        ValueError: If the layout is unknown or not the one asked for, or it
            is not clear which weights to take.
    """
    given = state_of(checkpoint, part)
    state = {
        unwrapped_key(key): value
        for key, value in given.items()
        if isinstance(value, Tensor)
    }
    family = find_family(state)
    keys = name_keys(list(given))
    if family is None:
        raise ValueError(
            f'expected a checkpoint in the layout of '
            f'{"; ".join(FAMILIES.values())}; got one of an unknown layout: '
            f'{keys} ({len(given)} keys)'
        )
    if layout != 'auto' and LAYOUTS[layout] != family:
        raise ValueError(
            f'expected the layout of {FAMILIES[LAYOUTS[layout]]}, as --from '
            f'{layout} says, got that of {FAMILIES[family]}: {keys}; drop '
            '--from'
        )
    readers = {
        'momentum': _momentum,
        'mocov3': _mocov3,
        'simsiam': _simsiam,
        'swav': _swav,
        'plain': _plain,
        OURS: _openmmlab,
    }
    return readers[family](state, layout)


def _momentum(state: State, layout: str) -> Parts:
    query = _under(state, 'encoder_q.')
    key = _under(state, 'encoder_k.')
    version = 'v2' if 'fc.0.weight' in query else 'v1'
    if layout == 'auto':
        layout = 'hcsc' if 'queue_index' in state else 'pcl or moco'
    return Parts(
        layout=f'{layout}, {version}',
        backbone=_without(query, 'fc.'),
        neck=_fc_as_neck(query),
        key_backbone=_without(key, 'fc.'),
        key_neck=_fc_as_neck(key),
    )


def _mocov3(state: State, layout: str) -> Parts:
    query = _under(state, 'base_encoder.')
    key = _under(state, 'momentum_encoder.')
    return Parts(
        layout='moco v3, without projection and predictor',
        backbone=_without(query, 'fc.', 'head.'),
        key_backbone=_without(key, 'fc.', 'head.'),
    )


def _simsiam(state: State, layout: str) -> Parts:
    return Parts(
        layout='simsiam, without projection and predictor',
        backbone=_without(_under(state, 'encoder.'), 'fc.'),
    )


def _fc_as_neck(encoder: State) -> State:
    """``fc`` as LinearNeck (v1) or MoCoV2Neck (v2) names it."""
    neck = _under(encoder, 'fc.')
    if '0.weight' in neck:
        return {f'mlp.{name}': value for name, value in neck.items()}
    return {f'fc.{name}': value for name, value in neck.items()}


def _swav(state: State, layout: str) -> Parts:
    head = _under(state, 'projection_head.')
    neck = {f'projection_neck.{name}': value for name, value in head.items()}
    # SwAVNeck names its batch norm twice.
    neck |= {f'bn.{n}': v for n, v in _under(head, '1.').items()}
    return Parts(
        layout='swav',
        backbone=_without(
            state, 'projection_head.', 'prototypes.', 'fc.', 'queue'
        ),
        neck=neck,
        prototypes=_under(state, 'prototypes.'),
    )


def _plain(state: State, layout: str) -> Parts:
    return Parts(layout='torchvision', backbone=_without(state, 'fc.'))


def _openmmlab(state: State, layout: str) -> Parts:
    for prefix in KEY_PREFIXES:
        key_backbone = _under(state, f'{prefix}0.')
        if key_backbone:
            break
    ours = any(key.startswith('encoder_k.0.') for key in state)
    return Parts(
        layout='ahpcl' if ours or layout == 'ahpcl' else 'mmselfsup',
        backbone=_without(_under(state, 'backbone.'), 'fc.'),
        neck=_under(state, 'neck.'),
        key_backbone=key_backbone,
        key_neck=_under(state, f'{prefix}1.'),
        prototypes=find_prototypes(state),
    )


def find_prototypes(state: Mapping[str, Tensor]) -> State:
    """SwAV's prototypes in a model of this ecosystem.

    Args:
        state: Weights by name.

    Returns:
        ``weight``, or ``prototypes0.weight`` and so on; empty if there are
        none.
    """
    return {
        key.rpartition('prototypes.')[2]: value
        for key, value in state.items()
        if 'prototypes.' in key and key.endswith('weight')
    }


def _under(state: Mapping[str, Tensor], prefix: str) -> State:
    return {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix)
    }


def _without(state: Mapping[str, Tensor], *prefixes: str) -> State:
    return {
        key: value
        for key, value in state.items()
        if not key.startswith(prefixes)
    }
