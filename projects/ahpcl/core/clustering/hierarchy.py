"""Prototypes at several granularities: the E-step as one function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ahpcl.core.clustering.concentration import concentration
from ahpcl.core.clustering.divide import split_clusters
from ahpcl.core.clustering.kmeans import cluster_points
from ahpcl.core.clustering.points import Clustering, Points
from ahpcl.core.clustering.prototypes import PrototypeHierarchy, PrototypeLevel
from ahpcl.core.clustering.rows import unit_rows
from ahpcl.core.clustering.search import resolve_backend
from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.clustering.shards import ALONE, Shards
from ahpcl.core.inputs import LINKAGES, check_counts, check_init
from ahpcl.core.seeding import seed_from

__all__ = [
    'LINKAGES',
    'build_hierarchy',
    'check_hierarchy',
    'prototype_level',
]

_ROUNDING = 1e-5


def build_hierarchy(
    features: Tensor,
    num_clusters: Sequence[int],
    settings: KMeansSettings = KMeansSettings(),
    *,
    linkage: str = 'independent',
    temperature: float = 0.2,
    seed: int = 0,
    init: Mapping[int, Tensor] | None = None,
    shards: Shards = ALONE,
) -> PrototypeHierarchy:
    """Cluster the features at every granularity asked for.

    - `independent`: one k-means per count (PCL, Li et al., ICLR 2021).
    - `agglomerative`, bottom up: the finest count clusters the images, and
      each coarser one the centroids of the level below, weighted by their
      sizes.
    - `divisive`, top down: the coarsest count clusters the images, and each
      finer one splits every cluster into a share of the new count that
      follows its size and spread.

    In the last two the coarse cluster of an image is the parent of its fine
    one. Assignments, objective and concentration are per image in all three.
    The seed of a level follows from `seed` and its count, so that an
    independent level is the same whichever others are asked for.

    Args:
        features: Normalised features, (N, D) floating point, any device.
        num_clusters: Distinct cluster counts, in any order.
        settings: How every level is clustered. A balance is for
            `independent` only, since nested sizes can not meet bounds at two
            levels at once in general.
        linkage: One of `LINKAGES`.
        temperature: Mean concentration of every level (tau). Distances
            under 1e-5, which are rounding between unit vectors, count as 0.
        seed: Seed of all random draws.
        init: Warm start: count to centroids (K, D), for any of the counts;
            other counts are ignored. Such a level has one restart.
        shards: Where the other points are, see `spherical_kmeans`; the
            hierarchy is of all points, and the same on every process. Not
            for divisive linkage.

    Returns:
        The levels, finest first.

    Raises:
        ValueError: If an argument does not fit: counts that repeat, are not
            positive, exceed N or are nested too close; an unknown linkage;
            features that are not finite.
        ImportError: If the backend's library is not installed.

    Examples:
        >>> points = torch.eye(8)
        >>> found = build_hierarchy(points, [2, 4], linkage='agglomerative')
        >>> found.num_clusters, found[0].parents.shape
        ((4, 2), torch.Size([4]))
    """
    points = Points(features, spherical=settings.spherical, shards=shards)
    device = points.features.device
    counts = check_hierarchy(
        num_clusters, points.count, settings, linkage=linkage, device=device
    )
    if linkage == 'divisive' and shards is not ALONE:
        raise ValueError(
            "expected linkage 'independent' or 'agglomerative' with features "
            "in parts, got 'divisive': splits need all points in one process"
        )
    init = {
        k: check_init(centroids, k, points.features)
        for k, centroids in (init or {}).items()
        if k in counts
    }
    own = {
        k: settings.for_level(k, smallest=counts[-1], warm=k in init)
        for k in counts
    }
    of_images = {
        'independent': counts,
        'agglomerative': counts[:1],
        'divisive': counts[-1:],
    }
    found = [
        cluster_points(
            points, k, own[k], seed=seed_from(seed, k), init=init.get(k)
        )
        for k in of_images[linkage]
    ]
    if linkage == 'agglomerative':
        for k in counts[1:]:
            found[-1:] = _merge_clusters(
                points,
                found[-1],
                k,
                own[k],
                seed=seed_from(seed, k),
                init=init.get(k),
            )
    elif linkage == 'divisive':
        for k in reversed(counts[:-1]):
            split = split_clusters(
                points,
                found[0],
                k,
                own[k],
                seed=seed_from(seed, k),
                init=init.get(k),
            )
            found.insert(0, split)
    return PrototypeHierarchy(
        prototype_level(
            replace(
                clustering,
                assignments=shards.all_gather(clustering.assignments),
                distances=shards.all_gather(clustering.distances),
            ),
            temperature=temperature,
            alpha=settings.alpha,
        )
        for clustering in found
    )


def check_hierarchy(
    num_clusters: Sequence[int],
    num_points: int,
    settings: KMeansSettings = KMeansSettings(),
    *,
    linkage: str,
    device: torch.device,
) -> tuple[int, ...]:
    """Check what `build_hierarchy` would be asked, without any features.

    Args:
        num_clusters: Counts of the levels.
        num_points: N.
        settings: As there; its backend must be installed.
        linkage: As there.
        device: Where the features will be.

    Returns:
        The counts, descending.

    Raises:
        ValueError: If an argument does not fit.
        ImportError: If the backend's library is not installed.

    Examples:
        >>> cpu = torch.device('cpu')
        >>> check_hierarchy([5, 20], 100, linkage='divisive', device=cpu)
        (20, 5)
    """
    counts = check_counts(
        num_clusters, num_points, linkage, settings.min_ratio
    )
    resolve_backend(settings.backend, device)
    if settings.balance is not None and linkage != 'independent':
        raise ValueError(
            f'expected balance=None with linkage={linkage!r}, got '
            f'{settings.balance}: the sizes of nested clusters can not be '
            f'bounded at every level at once; use linkage="independent"'
        )
    return counts


def prototype_level(
    clustering: Clustering, *, temperature: float, alpha: float = 10.0
) -> PrototypeLevel:
    """Make a level of a clustering of all images, with its concentration.

    Args:
        clustering: Clustering of all images.
        temperature: Mean concentration.
        alpha: Smoothing of small clusters, see `concentration`.

    Examples:
        >>> points, settings = Points(torch.eye(2)), KMeansSettings()
        >>> found = cluster_points(points, 1, settings, seed=0)
        >>> prototype_level(found, temperature=0.2).concentration
        tensor([0.2000])
    """
    # Equal points lie beside their mean by rounding alone, which scaling to
    # the temperature would turn into a concentration.
    distances = clustering.distances
    distances = torch.where(distances > _ROUNDING, distances, 0.0)
    return PrototypeLevel(
        centroids=unit_rows(clustering.centroids),
        assignments=clustering.assignments,
        concentration=concentration(
            distances,
            clustering.assignments,
            clustering.num_clusters,
            temperature=temperature,
            alpha=alpha,
        ),
        parents=clustering.parents,
        objective=float(clustering.distances.double().square().mean()),
        num_repaired=clustering.num_repaired,
    )


def _merge_clusters(
    points: Points,
    fine: Clustering,
    num_clusters: int,
    settings: KMeansSettings,
    *,
    seed: int,
    init: Tensor | None,
) -> tuple[Clustering, Clustering]:
    """The fine level with its parents, and the coarse one that they are.

    The coarse one clusters the centroids of the fine one, weighted by their
    sizes; every process does so by itself, and the first is believed.
    """
    shards = points.shards
    sizes = shards.sum(fine.sizes())
    merged = cluster_points(
        Points(fine.centroids, sizes, spherical=points.spherical),
        num_clusters,
        settings.for_centroids(),
        seed=seed,
        init=init,
    )
    parents = shards.broadcast(merged.assignments)
    coarse = points.clustering(
        shards.broadcast(merged.centroids),
        parents[fine.assignments],
        n_iter=merged.n_iter,
        num_repaired=merged.num_repaired,
    )
    return replace(fine, parents=parents), coarse
