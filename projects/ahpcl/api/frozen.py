"""Encoders that are not trained here: by name, with weights from a file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS

from ahpcl.utils.random_state import random_state_kept

from .run_files import RunFiles

#: Weights that nobody trained, as a baseline.
RANDOM = 'random'
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_KINDS = {'timm': 'TimmBackbone', 'torchvision': 'TorchvisionBackbone'}


def is_named(encoder: Any) -> bool:
    """Tell whether an encoder is one by name, such as ``timm:resnet18``."""
    return isinstance(encoder, str) and encoder.partition(':')[0] in _KINDS


def frozen_files(
    encoder: str,
    weights: str | os.PathLike | None,
    *,
    image_size: int | None = None,
    seed: int = 0,
) -> RunFiles:
    """Make what a run of an encoder by name would hold.

    Images are prepared as the library does for its own weights: resized by
    the short edge, cropped in the middle, normalised.

    Args:
        encoder: ``timm:NAME`` or ``torchvision:NAME``.
        weights: File of weights, a state dict or safetensors under the names
            of that library; or 'random'. Nothing is downloaded.
        image_size: Side of the images in px; None for what the library takes.
        seed: Seed of random weights.

    Raises:
        ValueError: If the name or the weights are missing or do not fit.
        ImportError: If the library is not installed.
    """
    library, _, name = encoder.partition(':')
    if library not in _KINDS or not name:
        raise ValueError(
            'expected an encoder such as timm:resnet18 or '
            f'torchvision:resnet18, got {encoder!r}'
        )
    if weights is None:
        raise ValueError(
            f'expected weights=FILE for {encoder}, got none: nothing is '
            'downloaded; save the weights of a pretrained model with '
            "torch.save(model.state_dict(), 'weights.pth') where there is a "
            f'network, or take weights={RANDOM!r} to see what an untrained '
            'encoder does'
        )
    settings: dict[str, Any] = dict(type=_KINDS[library], model_name=name)
    if weights != RANDOM:
        settings['weights'] = os.fspath(weights)
    with random_state_kept(seed):
        backbone = _build(settings, library, image_size)
        backbone.init_weights()
    size, edge, mean, std, how = _preparation(library, backbone, image_size)
    config = Config(
        ConfigDict(
            default_scope='mmselfsup',
            model=dict(
                type='Frozen',
                backbone=settings,
                data_preprocessor=dict(
                    mean=[255 * value for value in mean],
                    std=[255 * value for value in std],
                    bgr_to_rgb=True,
                ),
            ),
            input_size=(size, size),
            extract_dataloader=dict(
                dataset=dict(
                    pipeline=[
                        dict(type='LoadImageBGR'),
                        dict(
                            type='mmcls.ResizeEdge',
                            scale=edge,
                            edge='short',
                            backend='pillow',
                            interpolation=how,
                        ),
                        dict(type='CenterCrop', crop_size=size),
                    ]
                )
            ),
        )
    )
    state = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
    return RunFiles(
        path=Path(encoder.replace(':', '_')),
        folder=None,
        config=config,
        state=state,
    )


def _build(
    settings: dict[str, Any], library: str, image_size: int | None
) -> Any:
    """Build the backbone; one for a fixed size is built for that size."""
    if image_size is not None:
        option = 'img_size' if library == 'timm' else 'image_size'
        try:
            made = MODELS.build({**settings, option: image_size})
        except ValueError:
            pass  # a convolutional one takes any size
        else:
            settings[option] = image_size
            return made
    return MODELS.build(settings)


def _preparation(
    library: str, backbone: Any, image_size: int | None
) -> tuple[int, int, tuple[float, ...], tuple[float, ...], str]:
    """Size, edge before the crop, mean, deviation and interpolation."""
    if library == 'torchvision':
        size = image_size or getattr(backbone.model, 'image_size', 224)
        return size, round(size / 0.875), _MEAN, _STD, 'bilinear'
    from timm.data import resolve_model_data_config

    told = resolve_model_data_config(backbone.model)
    size = image_size or told['input_size'][-1]
    how = told['interpolation']
    return (
        size,
        max(size, math.floor(size / told['crop_pct'])),
        tuple(told['mean']),
        tuple(told['std']),
        how if how in ('bilinear', 'bicubic', 'lanczos') else 'bicubic',
    )
