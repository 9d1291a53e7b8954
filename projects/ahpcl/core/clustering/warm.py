"""Centroids that a k-means goes on from, of features that have moved."""

from __future__ import annotations

import torch
from torch import Tensor

from ahpcl.core.clustering.rows import segment_sum, unit_rows
from ahpcl.core.clustering.shards import ALONE, Shards

__all__ = ['moved_centroids']


def moved_centroids(
    features: Tensor,
    assignments: Tensor,
    previous: Tensor,
    *,
    spherical: bool = True,
    shards: Shards = ALONE,
) -> Tensor:
    """Means of the features that the images of every cluster have now.

    An encoder that learns fast moves all features, and most of the centroids
    from before are then nearest to none of them; the images of a cluster
    still belong together.

    Args:
        features: Features of the own images, (n, D) floating point.
        assignments: Cluster of every image before, (N,) int64 in [0, K).
        previous: Centroids of before, (K, D), which clusters without images,
            or whose mean has no direction, keep.
        spherical: Whether means are normalised to length 1.
        shards: Where the other images are.

    Returns:
        (K, D) float32, the same on every process.

    Examples:
        >>> rows, where = torch.eye(3), torch.tensor([1, 0, 0])
        >>> moved_centroids(rows, where, torch.eye(3)[:2]).round(decimals=2)
        tensor([[0.0000, 0.7100, 0.7100],
                [1.0000, 0.0000, 0.0000]])
    """
    own = shards.local(assignments.to(features.device))
    count = len(previous)
    total = shards.sum(segment_sum(features.float(), own, count))
    ones = torch.ones_like(own, dtype=torch.float32)
    mass = shards.sum(segment_sum(ones, own, count))[:, None]
    previous = previous.float()
    mean = torch.where(mass > 0, total / mass.clamp(min=1), previous).float()
    return unit_rows(mean, previous) if spherical else mean
