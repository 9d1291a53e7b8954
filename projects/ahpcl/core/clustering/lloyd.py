"""Lloyd's algorithm: the one loop of this package."""

from __future__ import annotations

import torch
from torch import Tensor

from ahpcl.core.clustering.plusplus import seed_centroids
from ahpcl.core.clustering.points import Clustering, Points
from ahpcl.core.clustering.repair import repair_empty
from ahpcl.core.clustering.search import exact_nearest, find_nearest, is_exact
from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.clustering.shards import ALONE
from ahpcl.core.seeding import seed_from

__all__ = ['lloyd', 'settle']

# Seeds are drawn from so many points, or so many per cluster, at most.
_SEED_POINTS = 2**16
_SEED_POINTS_PER_CLUSTER = 8


def lloyd(
    points: Points,
    num_clusters: int,
    settings: KMeansSettings,
    *,
    seed: int,
    init: Tensor | None = None,
) -> Clustering:
    """Cluster points by k-means, with restarts and repair.

    Points that lie in parts on several processes are searched by every one
    for its own; what is known of every point but its features is gathered
    where an empty cluster is to be repaired. Up to the rounding of the sums
    the result is that of one process.

    Args:
        points: What is clustered.
        num_clusters: K, at most as many as points.
        settings: How to cluster. The numbers of points per cluster and the
            balance are the caller's concern.
        seed: Seed of all random draws.
        init: Centroids to begin with, (k, D) for k up to K; those that lack
            are drawn. There is one restart then.

    Returns:
        The restart of the lowest objective.

    Examples:
        >>> settings = KMeansSettings(n_init=1)
        >>> lloyd(Points(torch.eye(4)), 4, settings, seed=0).objective
        0.0
    """
    best: Clustering | None = None
    for restart in range(settings.n_init if init is None else 1):
        generator = torch.Generator()
        generator.manual_seed(seed_from(seed, 'kmeans', restart))
        centroids = _seeds(points, num_clusters, generator, init)
        found = _refine(points, points.as_centroids(centroids), settings)
        if best is None or found.objective < best.objective:
            best = found
    assert best is not None
    return best


def settle(
    points: Points,
    centroids: Tensor,
    settings: KMeansSettings,
    *,
    known: Tensor | None = None,
    n_iter: int = 0,
    num_repaired: int = 0,
) -> Clustering:
    """Assign points to the nearest of given centroids, none of them empty.

    A repaired cluster has one point for its centroid, and that point (with
    its equals) stays with it, so that every pass settles at least one cluster
    for good.

    Args:
        points: What is clustered.
        centroids: (K, D).
        settings: How to cluster; the search is exact float32 in any case.
        known: The exact assignment, (n,), where it is known already.
        n_iter: Iterations so far.
        num_repaired: Repairs so far.

    Examples:
        >>> points, settings = Points(torch.eye(3)), KMeansSettings()
        >>> settle(points, torch.eye(3), settings).assignments
        tensor([0, 1, 2])
    """
    shards = points.shards
    centroids = centroids.clone()
    pin = torch.full_like(points.ids, -1)
    while True:
        if known is None:
            assignments = exact_nearest(points.features, centroids, settings)
        else:
            assignments, known = known, None
        own = shards.local(pin)
        assignments = torch.where(own >= 0, own, assignments)
        empty = donors = pin[:0]
        if _any_empty(points, assignments, len(centroids)):
            distances = points.distances(centroids, assignments)
            empty, donors = repair_empty(
                shards.all_gather(assignments),
                torch.where(pin >= 0, -1.0, shards.all_gather(distances)),
                points.ids,
                points.eligible,
                len(centroids),
            )
        if len(empty) == 0:
            return points.clustering(
                centroids,
                assignments,
                n_iter=n_iter,
                num_repaired=num_repaired,
            )
        rows = shards.fetch_rows(points.features, donors)
        centroids[empty] = points.as_centroids(rows)
        pin = torch.maximum(pin, _spread(points, empty, donors))
        num_repaired += len(empty)


def _refine(
    points: Points, centroids: Tensor, settings: KMeansSettings
) -> Clustering:
    """Lloyd's iterations from given centroids (K, D), then `settle`."""
    most_moved = int(settings.tolerance * points.count)
    previous: Tensor | None = None
    known: Tensor | None = None
    iteration = repaired = 0
    while iteration < settings.n_iter:
        iteration += 1
        assignments = find_nearest(points.features, centroids, settings)
        assignments, fixed = _repair(points, centroids, assignments)
        repaired += fixed
        if previous is not None:
            moved = int(points.shards.sum((assignments != previous).sum()))
            if moved == 0 and not fixed:
                # Centroids are the means of these very assignments.
                device = points.features.device
                if is_exact(settings, device, len(centroids)):
                    known = assignments
                break
            if moved <= most_moved:
                centroids = points.means(assignments, centroids)
                break
        centroids = points.means(assignments, centroids)
        previous = assignments
    return settle(
        points,
        centroids,
        settings,
        known=known,
        n_iter=iteration,
        num_repaired=repaired,
    )


def _seeds(
    points: Points,
    num_clusters: int,
    generator: torch.Generator,
    init: Tensor | None,
) -> Tensor:
    """Centroids to begin with, from all points or a random part, (K, D)."""
    if init is not None and len(init) == num_clusters:
        return init
    most = max(_SEED_POINTS, _SEED_POINTS_PER_CLUSTER * num_clusters)
    features, weights, shards = points.features, points.weights, points.shards
    chosen = torch.arange(points.count)
    if points.count > most:
        order = torch.randperm(points.count, generator=generator)
        chosen = order[:most].sort().values
    if points.count > most or shards is not ALONE:
        chosen = chosen.to(features.device)
        features = shards.fetch_rows(features, chosen)
        weights = shards.all_gather(weights)[chosen]
    seeds = seed_centroids(features, num_clusters, weights, generator, init)
    return shards.broadcast(seeds)


def _any_empty(points: Points, assignments: Tensor, num_clusters: int) -> bool:
    eligible = points.shards.local(points.eligible)
    sizes = torch.bincount(assignments[eligible], minlength=num_clusters)
    return bool((points.shards.sum(sizes) == 0).any())


def _repair(
    points: Points, centroids: Tensor, assignments: Tensor
) -> tuple[Tensor, int]:
    """Assignments without empty clusters, and how many there were."""
    if not _any_empty(points, assignments, len(centroids)):
        return assignments, 0
    distances = points.distances(centroids, assignments)
    empty, donors = repair_empty(
        points.shards.all_gather(assignments),
        points.shards.all_gather(distances),
        points.ids,
        points.eligible,
        len(centroids),
    )
    moved = points.shards.local(_spread(points, empty, donors))
    return torch.where(moved >= 0, moved, assignments), len(empty)


def _spread(points: Points, empty: Tensor, donors: Tensor) -> Tensor:
    """New cluster of every point equal to a donor, else -1, (N,)."""
    cluster_of = torch.full_like(points.ids, -1)
    cluster_of[points.ids[donors]] = empty
    return cluster_of[points.ids]
