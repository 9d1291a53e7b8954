"""Features of the training images, and of labelled ones to evaluate on."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ahpcl.datasets.transforms import SetRole
from ahpcl.engine.extraction import extract_features, preprocessed
from ahpcl.models.features import pool_features
from ahpcl.models.protocols import EncodesKeys

from .feature_set import FeatureSet


def training_features(model: nn.Module, loader: DataLoader) -> FeatureSet:
    """Extract features of training images, and keys if the method has any.

    Args:
        model: The unwrapped algorithm.
        loader: Loader over all training images, in order.

    Raises:
        FloatingPointError: If a feature is NaN or infinite.
    """
    has_keys = isinstance(model, EncodesKeys)
    widths = []

    def encode(inputs: Any) -> Tensor:
        features = pool_features(model.extract_feat(inputs))
        widths.append(features.shape[1])
        if not has_keys:
            return features
        return torch.cat([features, model.extract_keys(inputs)], dim=1)

    rows = extract_features(model, loader, encode).float().cpu()
    known = known_of(loader.dataset)
    return FeatureSet(
        features=rows[:, : widths[0]].contiguous(),
        labels=known.labels,
        query=torch.zeros(len(rows), dtype=torch.bool),
        keys=rows[:, widths[0] :].contiguous() if has_keys else None,
        paths=known.paths,
        classes=class_names(loader.dataset),
    )


@torch.no_grad()
def evaluation_features(model: nn.Module, loader: DataLoader) -> FeatureSet:
    """Extract features, labels and roles of a validation loader's images.

    Args:
        model: The unwrapped algorithm, in eval mode.
        loader: Loader as for the val loop, in order.

    Raises:
        FloatingPointError: If a feature is NaN or infinite.
    """
    rows = []
    for batch in loader:
        for sample in model.predict(*preprocessed(model, batch)):
            rows.append(sample.feature.float().cpu())
    features = torch.stack(rows)
    bad = int((~torch.isfinite(features).all(1)).sum())
    if bad:
        raise FloatingPointError(
            f'features of {bad} of {len(features)} images with NaN or infinity'
        )
    return FeatureSet(
        features=features,
        **known_of(loader.dataset)._asdict(),
        classes=class_names(loader.dataset),
    )


class Known(NamedTuple):
    """What is known of N images before any is read.

    Args:
        labels: Classes (N,) int64, -1 where unknown.
        query: Mask, (N,) bool, True for images that are tested.
        paths: File, or another name, of every image.
    """

    labels: Tensor
    query: Tensor
    paths: tuple[str, ...]


def known_of(dataset: Dataset) -> Known:
    """Look at the entries of a data set.

    Args:
        dataset: A data set, or several joined; the pipeline of each may set
            the role.
    """
    labels: list[int] = []
    query: list[bool] = []
    paths: list[str] = []
    for part in getattr(dataset, 'datasets', None) or [dataset]:
        for index in range(len(part)):
            info = part.get_data_info(index)
            label = info.get('gt_label')
            labels.append(-1 if label is None else int(label))
            paths.append(str(info.get('img_path', len(paths))))
        roles = [
            transform.role
            for transform in part.pipeline.transforms
            if isinstance(transform, SetRole)
        ]
        query += [not roles or roles[-1] == 'query'] * len(part)
    return Known(torch.tensor(labels), torch.tensor(query), tuple(paths))


def class_names(dataset: Dataset) -> tuple[str, ...]:
    """Return names of the classes; empty if the set has none."""
    names = dataset.metainfo.get('classes') or ()
    return tuple(map(str, names))
