"""The encoders of a run alone, without heads, queues and optimizers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from ahpcl.compat.frameworks import scope_of
from ahpcl.models import AHPCL
from ahpcl.models.cluster_space import CLUSTER_SPACES, build_cluster_space
from ahpcl.models.fast_encoders import choose_memory_format, encode
from ahpcl.models.features import pool_features
from ahpcl.runtime.checkpoint_layout import FAMILIES, OURS, find_family
from ahpcl.runtime.state_difference import compare_states, name_keys

from .plain_parts import PLAIN
from .preprocessing import Normalise
from .scopes import in_scope

SPACES = ('features', 'prototypes')
_KEY = 'encoder_k.'
_SPACE = 'cluster_space.'
# Options of backbones that name the weights to start from.
_STARTS = ('init_cfg', 'pretrained', 'checkpoint_path', 'weights')


class EncoderParts(nn.Module):
    """Query backbone, and key encoder where there is one, in eval mode.

    Args:
        normalise: Module that turns pixels into what the backbones take.
        backbone: Query backbone.
        key_backbone: Key backbone; None for a method without.
        key_neck: From the key backbone's features to the space of the
            prototypes: its projection, or :class:`WhitenedFeatures`; None
            where they live in the pooled features themselves.
    """

    def __init__(
        self,
        normalise: Normalise,
        backbone: nn.Module,
        key_backbone: nn.Module | None = None,
        key_neck: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.backbone = backbone
        self.key_backbone = key_backbone
        self.key_neck = key_neck
        self.eval().requires_grad_(False)
        layout = choose_memory_format('auto', backbone, torch.device('cpu'))
        self.to(memory_format=layout)
        self._layout = layout

    def forward(self, pixels: Tensor, space: str = 'features') -> Tensor:
        """Encode a batch.

        Args:
            pixels: (B, C, H, W), as :class:`Preprocessing` gives them.
            space: 'features', pooled, of the query backbone; 'prototypes',
                unit rows, of the key encoder, or the pooled features of unit
                length where there is none.

        Returns:
            (B, D) float32.
        """
        images = self.normalise(pixels).contiguous(memory_format=self._layout)
        if space == 'features':
            return pool_features(self.backbone(images))
        if self.key_backbone is None or self.key_neck is None:
            return F.normalize(pool_features(self.backbone(images)), dim=1)
        return encode(self.key_backbone, self.key_neck, images)

    @property
    def has_keys(self) -> bool:
        """Whether there is a key encoder."""
        return self.key_neck is not None


def build_parts(config: Config, state: Mapping[str, Tensor]) -> EncoderParts:
    """Build the encoders of a config with the weights of a checkpoint.

    Args:
        config: With ``model``, of any method with a ``backbone``.
        state: Weights by name. Those of heads, queues and memories are left
            out.

    Raises:
        ValueError: If the weights are of another layout or architecture.
    """
    state = dict(state)
    AHPCL.upgrade_state_dict(state)
    _check_layout(state)
    scope = scope_of(config)
    backbone = build_part(config.model.backbone, scope)
    _load(backbone, state, 'backbone.')
    key_backbone = key_neck = None
    if any(key.startswith(f'{_KEY}1.') for key in state):
        key_backbone = build_part(config.model.backbone, scope)
        _load(key_backbone, state, f'{_KEY}0.')
        space = config.model.get('cluster_space', CLUSTER_SPACES[0])
        key_neck = build_cluster_space(space, config.model.neck)
        if key_neck is None:
            key_neck = build_part(config.model.neck, scope)
            _load(key_neck, state, f'{_KEY}1.')
        else:
            _load(key_neck, state, _SPACE)
    return EncoderParts(Normalise.of(config), backbone, key_backbone, key_neck)


def build_part(settings: Mapping[str, Any], scope: str) -> nn.Module:
    """Build a backbone or neck, without mmselfsup where it is not installed.

    Weights that its config names are not read, those of a checkpoint follow;
    and nothing is downloaded.
    """
    settings = {
        key: copy.deepcopy(value)
        for key, value in settings.items()
        if key not in _STARTS
    }
    name = str(settings['type']).removeprefix('mmselfsup.')
    if name in PLAIN and not _has_mmselfsup():
        del settings['type']
        return PLAIN[name](**settings)
    with in_scope(scope):
        return MODELS.build(settings)


def _has_mmselfsup() -> bool:
    try:
        import mmselfsup  # noqa: F401
    except ImportError:
        return False
    return True


def _check_layout(state: Mapping[str, Tensor]) -> None:
    family = find_family(state)
    if family == OURS:
        return
    keys = name_keys(list(map(str, state)))
    known = 'unknown' if family is None else f'of {FAMILIES[family]}'
    raise ValueError(
        "expected weights with keys 'backbone.*', got a layout that is "
        f'{known}: {keys}; convert a checkpoint of another project with '
        'tools/model_converters/import_checkpoint.py'
    )


def _load(part: nn.Module, state: Mapping[str, Tensor], prefix: str) -> None:
    given = {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix)
    }
    difference = compare_states(part.state_dict(), given)
    if difference:
        raise ValueError(
            f'expected weights that fit the {type(part).__name__} of the '
            f'config, got others under {prefix}*: {difference.describe()}; '
            'give the config that the checkpoint was trained with'
        )
    part.load_state_dict(given, strict=False)
