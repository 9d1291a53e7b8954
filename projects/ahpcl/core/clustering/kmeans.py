"""Spherical k-means, the clustering of the E-step."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ahpcl.core.clustering.balance import balanced_clustering
from ahpcl.core.clustering.lloyd import lloyd, settle
from ahpcl.core.clustering.points import Clustering, Points
from ahpcl.core.clustering.search import resolve_backend
from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.clustering.shards import ALONE, Shards
from ahpcl.core.inputs import check_init
from ahpcl.core.seeding import seed_from

__all__ = ['cluster_points', 'spherical_kmeans']


def spherical_kmeans(
    features: Tensor,
    num_clusters: int,
    settings: KMeansSettings = KMeansSettings(),
    *,
    seed: int = 0,
    init: Tensor | None = None,
    weights: Tensor | None = None,
    shards: Shards = ALONE,
) -> Clustering:
    """Cluster points by cosine (or plainly, where that is the setting).

    Lloyd's algorithm from k-means++ seeds; the restart of the lowest
    objective wins. Clusters that lose their points are repaired in every
    iteration and at the end, so that none is empty where K distinct points
    exist. With fewer distinct points than K (a collapsed encoder) there is
    a warning, every distinct point has a cluster, and the rest are empty
    honestly. The result depends on the arguments alone: no global random
    state is read or changed.

    Rows are expected to be normalised and are not rescaled. In spherical
    mode points count as distinct by direction, and a row of zeros is at
    distance 1 from every centroid: it belongs to any cluster, fills none,
    and a cluster whose mean has no direction keeps its previous centroid
    (the first axis, if it never had one).

    Args:
        features: Points, (N, D) floating point, on any device. Computed in
            float32.
        num_clusters: K, from 1 to N.
        settings: How to cluster.
        seed: Seed of all random draws.
        init: Centroids to begin with, (K, D); there is one restart then.
        weights: Weight of every point in means and objective, >= 0, (N,).
            Points of weight 0 do not count as filling a cluster. Not
            together with `balance`.
        shards: Where the other points are, if the features are a part of
            them: all processes call this at once, with equal arguments but
            for features and weights. N is then the number of all points,
            and assignments and distances are those of the own ones. Not
            together with `balance`.

    Returns:
        The clustering, on the device of the features. The final assignment
        is exact float32, whatever the backend and the precision.

    Raises:
        ValueError: If a shape, type or number does not fit, K > N, or the
            features are not finite.
        ImportError: If the backend's library is not installed.

    Examples:
        >>> points = torch.eye(3).repeat(4, 1)
        >>> found = spherical_kmeans(points, 3, KMeansSettings(n_init=1))
        >>> found.sizes().tolist(), found.objective
        ([4, 4, 4], 0.0)
    """
    points = Points(
        features, weights, spherical=settings.spherical, shards=shards
    )
    if not 1 <= num_clusters <= points.count:
        raise ValueError(
            f'expected 1 <= num_clusters <= {points.count} (the number of '
            f'points), got {num_clusters}'
        )
    resolve_backend(settings.backend, points.features.device, num_clusters)
    if init is not None:
        init = check_init(init, num_clusters, points.features)
    if settings.balance is not None and weights is not None:
        raise ValueError(
            'expected either weights or balance: sizes in points can not be '
            'bounded for weighted points'
        )
    return cluster_points(points, num_clusters, settings, seed=seed, init=init)


def cluster_points(
    points: Points,
    num_clusters: int,
    settings: KMeansSettings,
    *,
    seed: int,
    init: Tensor | None = None,
) -> Clustering:
    """Do what `spherical_kmeans` does, with what has been checked already.

    Args:
        points: What is clustered.
        num_clusters: K, from 1 to N.
        settings: How to cluster.
        seed: Seed of all random draws.
        init: Centroids to begin with, (K, D) float32 on the points' device.

    Examples:
        >>> settings = KMeansSettings(n_init=1)
        >>> cluster_points(Points(torch.eye(2)), 2, settings, seed=0).sizes()
        tensor([1, 1])
    """
    if settings.balance is not None and points.shards is not ALONE:
        raise ValueError(
            f'expected balance=None with features in parts, got '
            f'{settings.balance}: bounded sizes need all points in one '
            f'process'
        )
    distinct = points.num_distinct()
    if distinct < num_clusters:
        warnings.warn(
            f'only {distinct} distinct points for {num_clusters} clusters: '
            f'{num_clusters - distinct} of them stay empty; the features '
            f'may have collapsed',
            stacklevel=3,
        )
    subset = _training_subset(points.count, num_clusters, settings, seed)
    # A part may lack some of the few points that there are.
    if subset is None or distinct <= num_clusters:
        found = lloyd(points, num_clusters, settings, seed=seed, init=init)
    else:
        part = points.subset(subset)
        learnt = lloyd(part, num_clusters, settings, seed=seed, init=init)
        found = settle(
            points,
            learnt.centroids,
            settings,
            n_iter=learnt.n_iter,
            num_repaired=learnt.num_repaired,
        )
    if settings.balance is not None:
        found = balanced_clustering(points, found, settings.balance)
    return found


def _training_subset(
    num_points: int, num_clusters: int, settings: KMeansSettings, seed: int
) -> Tensor | None:
    """Rows to learn the centroids from, ascending; None for all."""
    least, most = settings.min_points, settings.max_points
    if least is not None and num_points < num_clusters * least:
        warnings.warn(
            f'{num_points} points for {num_clusters} clusters are fewer than '
            f'min_points={least} per cluster',
            stacklevel=4,
        )
    if most is None or num_clusters * most >= num_points:
        return None
    generator = torch.Generator().manual_seed(seed_from(seed, 'subset'))
    order = torch.randperm(num_points, generator=generator)
    return order[: num_clusters * most].sort().values
