"""Splitting every cluster of a coarse level into its share of a finer one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ahpcl.core.clustering.lloyd import lloyd
from ahpcl.core.clustering.points import Clustering, Points
from ahpcl.core.clustering.rows import segment_sum
from ahpcl.core.clustering.search import nearest
from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.seeding import seed_from

__all__ = ['child_counts', 'split_clusters']


def child_counts(
    mass: Tensor, least: Tensor, capacity: Tensor, total: int
) -> Tensor:
    """Share out `total` in proportion to the mass, whole and bounded.

    Proportional shares `clip(scale * mass, least, capacity)` with the scale at
    which they sum to the total, rounded by largest remainder.

    Args:
        mass: How many children a parent deserves, >= 0, (G,).
        least: How many it must have, (G,) int64.
        capacity: How many it can have, >= least, (G,) int64.
        total: K, between the sums of `least` and of the capacities.

    Returns:
        (G,) int64 that sums to `total`.

    Examples:
        >>> mass, one = torch.tensor([1.0, 3.0]), torch.ones(2).long()
        >>> child_counts(mass, least=one, capacity=9 * one, total=8)
        tensor([2, 6])
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
    points: Points,
    coarse: Clustering,
    num_clusters: int,
    settings: KMeansSettings,
    *,
    seed: int,
    init: Tensor | None = None,
) -> Clustering:
    """Refine a coarse clustering, one parent after the other.

    Every parent gets a share of the clusters that follows the sum of its
    points' distances (its size times its spread), at most its distinct
    points, and a k-means of its own points. One whose share is a single
    child stays as it is.

    Args:
        points: All in one process.
        coarse: The clustering to refine.
        num_clusters: K, more than the coarse one has and at most N.
        settings: How to cluster within a parent.
        seed: Seed of all random draws.
        init: Warm start, (K, D), or None: a centroid serves the parent that
            it is nearest to, as far as that parent has room; the rest are
            drawn.

    Returns:
        The clustering of all points, with the parent of every cluster.

    Examples:
        >>> points, settings = Points(torch.eye(4)), KMeansSettings(n_init=1)
        >>> one = lloyd(points, 1, settings, seed=0)
        >>> split_clusters(points, one, 4, settings, seed=0).sizes()
        tensor([1, 1, 1, 1])
    """
    mass = segment_sum(
        coarse.distances, coarse.assignments, coarse.num_clusters
    )
    least, capacity = _room(points, coarse, num_clusters)
    counts = child_counts(mass, least, capacity, num_clusters)
    order = torch.argsort(coarse.assignments, stable=True)
    members = torch.split(order, coarse.sizes().tolist())
    starts: list[Tensor | None] = [None] * len(members)
    if init is not None:
        parent, by_parent = nearest(init, coarse.centroids).sort(stable=True)
        near = parent.bincount(minlength=len(members)).tolist()
        starts = [*torch.split(init[by_parent], near)]
    assignments = torch.empty_like(coarse.assignments)
    centroids: list[Tensor] = []
    first = n_iter = num_repaired = 0
    for parent_id, count in enumerate(counts.tolist()):
        own = members[parent_id]
        if count == 1:
            centroids.append(coarse.centroids[parent_id : parent_id + 1])
            assignments[own] = first
        elif count > 1:
            start = starts[parent_id]
            found = lloyd(
                Points(points.features[own], spherical=points.spherical),
                count,
                settings,
                seed=seed_from(seed, parent_id),
                init=None if start is None else start[:count],
            )
            centroids.append(found.centroids)
            assignments[own] = first + found.assignments
            n_iter = max(n_iter, found.n_iter)
            num_repaired += found.num_repaired
        first += count
    found = points.clustering(
        torch.cat(centroids),
        assignments,
        n_iter=n_iter,
        num_repaired=num_repaired,
    )
    parents = torch.arange(len(members), device=counts.device)
    return replace(found, parents=parents.repeat_interleave(counts))


def _room(
    points: Points, coarse: Clustering, num_clusters: int
) -> tuple[Tensor, Tensor]:
    """Least and largest number of children of every parent, (G,) int64.

    One at least, and one for every distinct point at most. Where there are
    fewer distinct points than clusters in all, these are the least instead,
    and some clusters will have to be empty.
    """
    num_ids = int(points.ids.max()) + 1
    pairs = coarse.assignments * num_ids + points.ids
    distinct = (torch.unique(pairs[points.eligible]) // num_ids).bincount(
        minlength=coarse.num_clusters
    )
    sizes = coarse.sizes()
    distinct = torch.maximum(distinct, sizes.clamp(max=1))
    if int(distinct.sum()) >= num_clusters:
        return sizes.clamp(max=1), distinct
    return distinct, sizes
