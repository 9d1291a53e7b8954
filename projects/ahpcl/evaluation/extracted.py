"""Features of the training images, and of labelled ones to evaluate on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ahpcl.datasets.transforms import SetRole
from ahpcl.engine.extraction import extract_features
from ahpcl.models.features import pool_features

from .feature_set import FeatureSet


def training_features(model: nn.Module, loader: DataLoader) -> FeatureSet:
    """Features, and keys where the method has them, of training images.

    Args:
        model: The unwrapped algorithm.
        loader: Over all training images, in order.

    Raises:
        FloatingPointError: If a feature is NaN or infinite.
    """
    has_keys = hasattr(model, 'extract_keys')
    widths = []

    def encode(inputs: Any) -> Tensor:
        features = pool_features(model.extract_feat(inputs))
        widths.append(features.shape[1])
        if not has_keys:
            return features
        return torch.cat([features, model.extract_keys(inputs)], dim=1)

    rows = extract_features(model, loader, encode).float().cpu()
    labels, _ = labels_and_roles(loader.dataset)
    return FeatureSet(
        features=rows[:, : widths[0]].contiguous(),
        labels=labels,
        query=torch.zeros(len(rows), dtype=torch.bool),
        keys=rows[:, widths[0] :].contiguous() if has_keys else None,
        paths=image_paths(loader.dataset),
        classes=class_names(loader.dataset),
    )


@torch.no_grad()
def evaluation_features(model: nn.Module, loader: DataLoader) -> FeatureSet:
    """Features, labels and roles of a validation loader's images.

    Args:
        model: The unwrapped algorithm, in eval mode.
        loader: As for the val loop, in order.

    Raises:
        FloatingPointError: If a feature is NaN or infinite.
    """
    rows = []
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        samples = data['data_samples'] if isinstance(data, dict) else data[1]
        inputs = data['inputs'] if isinstance(data, dict) else data[0]
        for sample in model.predict(inputs, samples):
            rows.append(sample.feature.float().cpu())
    features = torch.stack(rows)
    bad = int((~torch.isfinite(features).all(1)).sum())
    if bad:
        raise FloatingPointError(
            f'features of {bad} of {len(features)} images with NaN or infinity'
        )
    labels, query = labels_and_roles(loader.dataset)
    return FeatureSet(
        features=features,
        labels=labels,
        query=query,
        paths=image_paths(loader.dataset),
        classes=class_names(loader.dataset),
    )


def labels_and_roles(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """What is known of images before any is read.

    Args:
        dataset: Or several, joined; the pipeline of each may set the role.

    Returns:
        Classes (N,) int64, -1 where unknown, and (N,) bool, True for images
        that are tested.
    """
    labels, query = [], []
    for part in getattr(dataset, 'datasets', None) or [dataset]:
        found = [
            part.get_data_info(i).get('gt_label') for i in range(len(part))
        ]
        labels += [-1 if label is None else int(label) for label in found]
        roles = [
            transform.role
            for transform in part.pipeline.transforms
            if isinstance(transform, SetRole)
        ]
        query += [not roles or roles[-1] == 'query'] * len(part)
    return torch.tensor(labels), torch.tensor(query)


def class_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the classes; empty if the set has none."""
    names = dataset.metainfo.get('classes') or ()
    return tuple(map(str, names))


def image_paths(dataset: Dataset) -> tuple[str, ...]:
    """File, or another name, of every image."""
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    return tuple(str(info.get('img_path', i)) for i, info in enumerate(infos))
