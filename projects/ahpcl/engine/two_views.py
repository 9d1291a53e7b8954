"""Features of two random views of the same images."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ahpcl.core import seed_from
from ahpcl.datasets import collate_batches, set_epoch
from ahpcl.models.features import first_view, pool_features
from ahpcl.models.protocols import MakesViews
from ahpcl.utils.random_state import random_state_kept

from .extraction import preprocessed


@torch.no_grad()
def two_view_features(
    model: nn.Module,
    dataset: Dataset,
    num_images: int,
    *,
    seed: int = 0,
    batch_size: int = 128,
) -> tuple[Tensor, Tensor]:
    """Pooled features of two augmented views, in eval mode.

    The views are the first ones of two epochs that no run reaches, so that
    methods with a single view of an image have two here as well. Nothing
    random of the caller's is touched, also where transforms draw from the
    global generators, and its data set keeps its epoch.

    Args:
        model: The unwrapped algorithm.
        dataset: Training images, with their augmentation.
        num_images: Number of images, taken evenly from the data set; at
            most all of them.
        seed: Seed of the views.
        batch_size: Images at once.

    Returns:
        (M, C) and (M, C) float32 on the device of the model.
    """
    dataset = _twin(dataset)
    total = len(dataset)
    number = min(num_images, total)
    places = [i * total // number for i in range(number)]
    training = model.training
    model.eval()
    views = []
    try:
        for epoch in (-1, -2):
            set_epoch(dataset, epoch, seed)
            with random_state_kept(seed_from(seed, 'view', epoch)):
                preprocess = view_preprocessing(model, epoch, seed)
                views.append(
                    _features(model, dataset, places, batch_size, preprocess)
                )
    finally:
        model.train(training)
    return views[0], views[1]


def view_preprocessing(
    model: nn.Module, epoch: int, seed: int
) -> Callable[[dict], tuple]:
    """What makes augmented inputs of a batch, of the model in eval mode.

    Args:
        model: The unwrapped algorithm. Its preprocessor makes the views, or
            takes those that the pipeline has made.
        epoch: Epoch of views that the preprocessor makes.
        seed: Seed of views that the preprocessor makes.

    Returns:
        A function of a batch that gives views and samples.
    """
    maker = model.data_preprocessor
    if isinstance(maker, MakesViews) and maker.num_views:
        return lambda batch: maker.make_views(batch, epoch, seed)
    return lambda batch: preprocessed(model, batch)


def _features(
    model: nn.Module,
    dataset: Dataset,
    places: list[int],
    batch_size: int,
    preprocess: Callable[[dict], tuple],
) -> Tensor:
    """Pooled features of the first view of some images, (M, C)."""
    rows = []
    for start in range(0, len(places), batch_size):
        chosen = places[start : start + batch_size]
        batch = collate_batches([dataset[i] for i in chosen])
        inputs, _ = preprocess(batch)
        rows.append(pool_features(model.extract_feat(first_view(inputs))))
    return torch.cat(rows)


def _twin(dataset: Dataset) -> Dataset:
    """The same images with transforms, and thus an epoch, of their own."""
    twin = copy.copy(dataset)
    for name in ('pipeline', 'pipelines', 'transform', 'transforms'):
        if name in vars(twin):
            setattr(twin, name, copy.deepcopy(getattr(twin, name)))
    if 'dataset' in vars(twin):
        twin.dataset = _twin(twin.dataset)
    if 'datasets' in vars(twin):
        twin.datasets = [_twin(part) for part in twin.datasets]
    return twin
