"""Repair of clusters that lost all their points."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ['repair_empty']


def repair_empty(
    assignments: Tensor,
    distances: Tensor,
    ids: Tensor,
    eligible: Tensor,
    num_clusters: int,
) -> tuple[Tensor, Tensor]:
    """Find a point to begin every empty cluster with.

    They are the points farthest from their centroids, all distinct, and
    never the one that lies nearest its centroid: so no cluster is emptied to
    fill another, and the objective can only fall. Where there are at least as
    many distinct eligible points as clusters, every empty cluster gets one.

    Args:
        assignments: Cluster of every point, (N,) int64.
        distances: Distance of every point to its centroid, (N,).
        ids: Equal for equal points, (N,) int64, see `rows.distinct_ids`.
        eligible: Points that count as filling a cluster, (N,) bool.
        num_clusters: K.

    Returns:
        Empty clusters, (E,) int64, and the point that each is to begin with,
        (E,) int64. Both are of length 0 where nothing is empty or nothing
        can be done.

    Examples:
        Cluster 1 of 2 is empty; point 2 lies farthest away.

        >>> repair_empty(
        ...     assignments=torch.tensor([0, 0, 0]),
        ...     distances=torch.tensor([0.1, 0.2, 0.9]),
        ...     ids=torch.arange(3),
        ...     eligible=torch.ones(3, dtype=torch.bool),
        ...     num_clusters=2,
        ... )
        (tensor([1]), tensor([2]))
    """
    occupied = torch.bincount(assignments[eligible], minlength=num_clusters)
    empty = (occupied == 0).nonzero().squeeze(1)
    if len(empty) == 0:
        return empty, empty
    num_points = len(assignments)
    order = torch.argsort(distances, descending=True, stable=True)
    order = order[eligible[order]]
    rank = torch.arange(len(order), device=order.device)
    # The nearest point of every cluster stays: the last in this order.
    anchor = rank.new_full((num_clusters,), -1)
    anchor.scatter_reduce_(0, assignments[order], rank, 'amax')
    anchor = order[anchor[anchor >= 0]]
    # The first, farthest, of equal points stands for all.
    leader = rank.new_full((int(ids.max()) + 1,), num_points)
    leader.scatter_reduce_(0, ids[order], rank, 'amin')
    leader[ids[anchor]] = num_points
    donors = order[leader[leader < num_points].sort().values][: len(empty)]
    return empty[: len(donors)], donors
