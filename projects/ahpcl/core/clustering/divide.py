"""Splitting every cluster of a coarse level into its share of a finer one."""

from __future__ import annotations

import torch
from torch import Tensor

from ahpcl.core.clustering.lloyd import Clustering, Lloyd
from ahpcl.core.clustering.points import identify
from ahpcl.core.clustering.search import nearest
from ahpcl.core.clustering.segments import Groups, segment_sum

__all__ = ['child_counts', 'split_clusters']


def child_counts(
    mass: Tensor, least: Tensor, capacity: Tensor, total: int
) -> Tensor:
    """Shares of `total` in proportion to the mass, whole and bounded.

    Proportional shares `clip(scale * mass, least, capacity)` with the scale at
    which they sum to the total, rounded by largest remainder.

    Args:
        mass: How many children a parent deserves, >= 0, (G,).
        least: How many it must have, (G,) int64.
        capacity: How many it can have, >= least, (G,) int64.
        total: K, between the sums of `least` and of the capacities.

    Returns:
        (G,) int64 that sums to `total`.
    """
    assert int(least.sum()) <= total <= int(capacity.sum())
    cap, low = capacity.double(), least.double()
    # Without any mass the shares are equal; and no mass is exactly 0, so
    # that a large enough scale fills every capacity.
    mass = mass.double()
    mass = mass + (1e-9 * mass.max() if float(mass.max()) > 0 else 1.0)

    def shares(log_scale: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(log_scale.exp() * mass, low), cap)

    lower = -mass.max().log() - 1
    upper = (cap.max().clamp(min=1) / mass.min()).log() + 1
    assert bool((least <= capacity).all())
    for _ in range(100):
        middle = (lower + upper) / 2
        if float(shares(middle).sum()) < total:
            lower = middle
        else:
            upper = middle
    share = shares(upper)
    counts = torch.minimum((share + 1e-6).floor().long(), capacity)
    missing = total - int(counts.sum())
    while missing > 0:
        remainder = torch.where(
            counts < capacity, share - counts.double(), -torch.inf
        )
        order = torch.argsort(remainder, descending=True, stable=True)
        order = order[counts[order] < capacity[order]][:missing]
        counts[order] += 1
        missing -= len(order)
    assert int(counts.sum()) == total
    return counts


def split_clusters(
    features: Tensor,
    coarse: Clustering,
    num_clusters: int,
    *,
    n_iter: int,
    n_init: int,
    seed: int,
    init: Tensor | None,
    spherical: bool,
) -> tuple[Clustering, Tensor]:
    """A finer clustering, nested in a coarse one.

    Every parent gets a share of the clusters that follows the sum of its
    points' distances (its size times its spread), at most its distinct
    points; one k-means for all parents at once then lets every point choose
    among its own parent's children, and the best restart is taken for every
    parent by itself.

    Args:
        features: (N, D) float32.
        coarse: The clustering to refine.
        num_clusters: K, more than the coarse one has and at most N.
        n_iter: Iterations at most.
        n_init: Restarts; 1 with `init`.
        seed: Of all draws.
        init: Warm start, (K, D), or None: a centroid serves the parent that
            it is nearest to, as far as that parent has room; the rest are
            drawn.
        spherical: Whether centroids have length 1.

    Returns:
        The clustering of all points, and the parent of every cluster, (K,).
    """
    order = torch.argsort(coarse.assignments, stable=True)
    points, of_point = features[order], coarse.assignments[order]
    least, capacity = _room(
        points, of_point, len(coarse.centroids), num_clusters, spherical
    )
    mass = segment_sum(
        coarse.distances, coarse.assignments, len(coarse.centroids)
    )
    groups = Groups(
        of_point, child_counts(mass, least, capacity, num_clusters)
    )
    lloyd = Lloyd(points, groups, spherical=spherical)
    start = None
    if init is not None:
        start, n_init = _place(init, coarse.centroids, groups), 1
    found = lloyd.run(n_iter=n_iter, n_init=n_init, seed=seed, start=start)
    assignments = torch.empty_like(found.assignments)
    assignments[order] = found.assignments
    distances = torch.empty_like(found.distances)
    distances[order] = found.distances
    result = Clustering(
        found.centroids,
        assignments,
        distances,
        found.n_iter,
        found.num_repaired,
    )
    return result, groups.of_cluster


def _room(
    points: Tensor,
    of_point: Tensor,
    num_groups: int,
    num_clusters: int,
    spherical: bool,
) -> tuple[Tensor, Tensor]:
    """Least and largest number of children of every parent, (G,) int64.

    One at least, and one for every distinct point at most. Where there are
    fewer distinct points than clusters in all, these are the least instead,
    and some clusters will have to be empty.
    """
    size = torch.bincount(of_point, minlength=num_groups)
    ids, eligible = identify(points, spherical)
    num_ids = int(ids.max()) + 1
    keys = torch.unique((of_point * num_ids + ids)[eligible])
    distinct = torch.bincount(keys // num_ids, minlength=num_groups)
    distinct = torch.maximum(distinct, size.clamp(max=1))
    if int(distinct.sum()) >= num_clusters:
        return size.clamp(max=1), distinct
    return distinct, size


def _place(
    init: Tensor, parents: Tensor, groups: Groups
) -> tuple[Tensor, Tensor]:
    """Warm-start centroids in the slots of their nearest parents."""
    parent, order = nearest(init, parents).sort(stable=True)
    count = torch.bincount(parent, minlength=groups.num_groups)
    first = (count.cumsum(0) - count)[parent]
    rank = torch.arange(len(parent), device=parent.device) - first
    fits = rank < groups.counts[parent]
    slot = (groups.starts[parent] + rank)[fits]
    placed = torch.zeros_like(init)
    placed[slot] = init[order[fits]]
    given = torch.zeros_like(parent, dtype=torch.bool)
    given[slot] = True
    return placed, given
