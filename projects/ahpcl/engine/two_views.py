"""Features of two random views of the same images."""

from __future__ import annotations

import copy

import torch
from mmengine.dataset import default_collate
from torch import Tensor, nn
from torch.utils.data import Dataset

from ahpcl.datasets import set_epoch
from ahpcl.models.features import first_view, pool_features


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
    random of the caller's is touched, and its data set keeps its epoch.

    Args:
        model: The unwrapped algorithm.
        dataset: Of the training, with its augmentation.
        num_images: Evenly from the data set; at most all of them.
        seed: Of the views.
        batch_size: Images at once.

    Returns:
        (M, C) and (M, C) float32 on the device of the model.
    """
    dataset = copy.deepcopy(dataset)  # with an epoch of its own
    total = len(dataset)
    number = min(num_images, total)
    places = [i * total // number for i in range(number)]
    training = model.training
    model.eval()
    views = []
    try:
        for epoch in (-1, -2):
            set_epoch(dataset, epoch, seed)
            rows = []
            for start in range(0, number, batch_size):
                chosen = places[start : start + batch_size]
                batch = default_collate([dataset[i] for i in chosen])
                data = model.data_preprocessor(batch, False)
                inputs = data['inputs'] if isinstance(data, dict) else data[0]
                rows.append(
                    pool_features(model.extract_feat(first_view(inputs)))
                )
            views.append(torch.cat(rows))
    finally:
        model.train(training)
    return views[0], views[1]
