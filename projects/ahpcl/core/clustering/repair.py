"""Repair of clusters that lost all their points."""

from __future__ import annotations

import torch
from torch import Tensor

from ahpcl.core.clustering.segments import Groups, rank_in_segment

__all__ = ['repair_empty']


def repair_empty(
    assignments: Tensor,
    distances: Tensor,
    ids: Tensor,
    eligible: Tensor,
    groups: Groups,
) -> tuple[Tensor, Tensor]:
    """Points that found a new cluster where one has none.

    They are the points farthest from their centroids, of the same group and
    distinct, and never the one that lies nearest its centroid: so no
    cluster is emptied to fill another, and the objective can only fall.
    Where a group has at least as many distinct eligible points as clusters,
    every empty cluster gets one.

    Args:
        assignments: Cluster of every point, (N,) int64.
        distances: Distance of every point to its centroid, (N,).
        ids: Equal for equal points, (N,) int64, see `points.distinct_ids`.
        eligible: Points that count as filling a cluster, (N,) bool.
        groups: Which clusters belong to which points.

    Returns:
        Empty clusters, (E,) int64, and the point that each is to begin with,
        (E,) int64. Both are of length 0 where nothing is empty or nothing
        can be done.
    """
    num_clusters, num_points = groups.num_clusters, len(assignments)
    occupied = torch.bincount(assignments[eligible], minlength=num_clusters)
    empty = (occupied == 0).nonzero().squeeze(1)
    if len(empty) == 0:
        return empty, empty
    # A point of one group is not the same as an equal one of another.
    num_ids = int(ids.max()) + 1
    _, ids = torch.unique(groups.of_point * num_ids + ids, return_inverse=True)
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
    donors = order[leader[leader < num_points].sort().values]

    group = groups.of_point[donors]
    by_group = torch.argsort(group, stable=True)
    donors, group = donors[by_group], group[by_group]
    position = rank_in_segment(group, groups.num_groups)
    wanted = torch.bincount(
        groups.of_cluster[empty], minlength=groups.num_groups
    )
    donors = donors[position < wanted[group]]
    given = torch.bincount(
        groups.of_point[donors], minlength=groups.num_groups
    )
    empty_group = groups.of_cluster[empty]
    position = rank_in_segment(empty_group, groups.num_groups)
    return empty[position < given[empty_group]], donors
