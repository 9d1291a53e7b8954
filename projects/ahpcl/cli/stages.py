"""Features of a model's stages, of the images of the first classes."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATASETS
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from ahpcl.engine.extraction import preprocessed
from ahpcl.evaluation.extracted import class_names, known_of
from ahpcl.models.features import pool_features

STAGES = ('backbone', 'neck', 'pre_logits')


def labelled_part(
    settings: Any, most: int
) -> tuple[Dataset, Tensor, Sequence[str]]:
    """The images that are shown.

    Args:
        settings: Settings of the dataset.
        most: Classes at most, the first of them. Without labels all images
            are shown.

    Returns:
        The images, their labels (N,), -1 where unknown, and the names of the
        classes.

    Raises:
        ValueError: If no image is of those classes.
    """
    dataset = DATASETS.build(copy.deepcopy(settings))
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    labels = known_of(dataset).labels
    places = (labels < most).nonzero().squeeze(1)
    if len(places) == 0:
        raise ValueError(
            f'expected images of the first {most} classes, got none; raise '
            '--max-num-class'
        )
    names = class_names(dataset)
    return Subset(dataset, places.tolist()), labels[places], names


@torch.no_grad()
def stage_features(
    model: nn.Module, inputs: Any, samples: Any, stage: str
) -> list[Tensor]:
    """Pooled features (B, C) of every output of a stage.

    Args:
        model: Model of mmselfsup or ours, or mmcls's classifier.
        inputs: Images, as its data preprocessor gives them.
        samples: Samples of these images.
        stage: One of :data:`STAGES`.

    Raises:
        ValueError: If the model has no such stage.
    """
    if 'stage' in inspect.signature(model.extract_feat).parameters:
        found = model.extract_feat(inputs, stage=stage)
    elif stage == 'pre_logits' or not (
        stage == 'backbone' or getattr(model, 'with_neck', True)
    ):
        raise ValueError(
            f'expected a --vis-stage that {type(model).__name__} has, got '
            f'{stage!r}; use backbone'
        )
    else:
        found = model.extract_feat(inputs, data_samples=samples)
        if stage == 'neck':
            found = model.neck(found)
    if isinstance(found, Tensor):
        found = [found]
    token = getattr(model.backbone, 'output_cls_token', False)
    if stage == 'backbone' and token:  # a transformer's [maps, class token]
        return [own[-1].float() for own in found]
    return [pool_features(own) for own in found]


def extract(
    model: nn.Module, loader: Any, stage: str, device: str
) -> dict[str, np.ndarray]:
    """Features of all images by the name of their file.

    Args:
        model: Model in eval mode, on the device.
        loader: Over the images, in order.
        stage: One of :data:`STAGES`.
        device: Device of the model.

    Returns:
        (N, C) float32 of ``feat_<output of the backbone>`` each; of later
        stages, which have one output, under the name of its last.
    """
    outputs = list(getattr(model.backbone, 'out_indices', (0,)))
    parts: list[list[Tensor]] = []
    for batch in loader:
        found = stage_features(model, *preprocessed(model, batch), stage)
        parts.append([own.float().cpu() for own in found])
    names = outputs[-len(parts[0]) :]
    return {
        f'feat_{name}': torch.cat(own).numpy()
        for name, own in zip(names, zip(*parts, strict=True), strict=True)
    }
