"""Clusters of bounded size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ahpcl.core.clustering.points import Clustering, Points
from ahpcl.core.clustering.settings import check_balance
from ahpcl.core.clustering.transport import row_chunks, transport
from ahpcl.core.contrast.batches import full_precision

__all__ = [
    'balanced_assignment',
    'balanced_clustering',
    'size_bounds',
]


def size_bounds(
    num_points: int, num_clusters: int, balance: float
) -> tuple[int, int]:
    """`[floor(N / K / balance), ceil(N / K * balance)]`.

    Raises:
        ValueError: If the factor is below 1.

    Examples:
        >>> size_bounds(num_points=100, num_clusters=8, balance=1.5)
        (8, 19)
    """
    check_balance(balance)
    mean = num_points / num_clusters
    return math.floor(mean / balance), math.ceil(mean * balance)


def balanced_assignment(cost: Tensor, balance: float = 1.0) -> Tensor:
    """A cluster for every point, with bounded sizes and a low total cost.

    Not the exact optimum: usually within about one percent of it.

    Args:
        cost: Cost of every point in every cluster, such as the squared
            distance or the negative cosine, (N, K) floating point, finite.
            Only differences within a row matter.
        balance: Factor >= 1 of the bounds, see `size_bounds`.

    Returns:
        Cluster of every point, (N,) int64, every size within the bounds.

    Raises:
        ValueError: If the shape or a number does not fit.

    Examples:
        >>> cost = torch.tensor([[0.0, 1], [0, 2], [0, 3], [0, 4]])
        >>> balanced_assignment(cost)
        tensor([1, 1, 0, 0])
    """
    if cost.ndim != 2 or 0 in cost.shape:
        raise ValueError(
            f'expected a cost of shape (N, K), not empty, got '
            f'{tuple(cost.shape)}'
        )
    if not bool(torch.isfinite(cost).all()):
        raise ValueError('expected a finite cost, got NaN or infinity')
    bounds = size_bounds(cost.shape[0], cost.shape[1], balance)
    cost = cost.detach().float()
    return transport(cost - cost.amin(dim=1, keepdim=True), bounds)


def balanced_clustering(
    points: Points, start: Clustering, balance: float, *, n_iter: int = 5
) -> Clustering:
    """Go on with a k-means whose assignment step is the balanced one.

    It needs a matrix of N * K float32 numbers (490 MB for 38,400 points and
    3,200 clusters).

    Args:
        points: All in one process, without weights.
        start: The clustering without bounds, to begin with.
        balance: Factor of the bounds.
        n_iter: Iterations at most.

    Returns:
        Centroids with balanced assignments and the distances to them. Empty
        clusters occur only where the lower bound is 0.

    Examples:
        >>> where = torch.tensor([0, 0, 0, 1])
        >>> points = Points(torch.eye(2)[where])
        >>> uneven = points.clustering(torch.eye(2), where)
        >>> balanced_clustering(points, uneven, 1.0).sizes()
        tensor([2, 2])
    """
    features, centroids = points.features, start.centroids
    bounds = size_bounds(len(features), len(centroids), balance)
    if len(features) >= len(centroids):
        bounds = max(1, bounds[0]), bounds[1]
    previous = features.new_zeros(0)
    for done in range(n_iter + 1):
        assignments = transport(_cost(features, centroids), bounds)
        if torch.equal(assignments, previous) or done == n_iter:
            break
        previous = assignments
        centroids = points.means(assignments, centroids)
    return points.clustering(
        centroids,
        assignments,
        n_iter=start.n_iter,
        num_repaired=start.num_repaired,
    )


def _cost(features: Tensor, centroids: Tensor) -> Tensor:
    """Squared distances, less the smallest of every row, (N, K)."""
    cost = features.new_empty(len(features), len(centroids))
    bias = centroids.square().sum(dim=1)
    with full_precision(features.device):
        for rows in row_chunks(cost):
            part = cost[rows]
            torch.addmm(
                bias, features[rows], centroids.t(), alpha=-2, out=part
            )
            part -= part.amin(dim=1, keepdim=True)
    return cost
