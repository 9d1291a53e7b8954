"""Prototypes at several granularities: the E-step as one function."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ahpcl.core.clustering.balance import check_balance
from ahpcl.core.clustering.divide import split_clusters
from ahpcl.core.clustering.levels import cluster_images, prototype_level
from ahpcl.core.clustering.lloyd import Clustering
from ahpcl.core.clustering.merge import merge_clusters
from ahpcl.core.clustering.prototypes import PrototypeHierarchy
from ahpcl.core.clustering.search import resolve_backend
from ahpcl.core.clustering.shards import ALONE, Shards
from ahpcl.core.inputs import (
    LINKAGES,
    check_counts,
    check_features,
    check_init,
)
from ahpcl.core.seeding import seed_from

__all__ = [
    'LINKAGES',
    'build_hierarchy',
    'check_hierarchy',
]


def build_hierarchy(
    features: Tensor,
    num_clusters: Sequence[int],
    *,
    linkage: str = 'independent',
    temperature: float = 0.2,
    seed: int = 0,
    init: Mapping[int, Tensor] | None = None,
    backend: str = 'auto',
    n_iter: int = 20,
    n_init: int = 5,
    min_points: int | None = None,
    max_points: int | None = None,
    spherical: bool = True,
    balance: float | None = None,
    min_ratio: float = 1.25,
    extra_iter_per_doubling: int = 0,
    alpha: float = 10.0,
    clip: tuple[float, float] = (10, 90),
    precision: str = 'auto',
    chunk_mib: float | None = None,
    tolerance: float = 0.0,
    warm_iter: int | None = None,
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
        linkage: One of `LINKAGES`.
        temperature: Mean concentration of every level (tau). Distances
            under 1e-5, which are rounding between unit vectors, count as 0.
        seed: Of all draws.
        init: Warm start: count to centroids (K, D), for any of the counts;
            other counts are ignored. Such a level has one restart.
        backend: Search backend, see `ahpcl.core.clustering.search`. Splits
            within parents always use torch.
        n_iter: Iterations of the smallest count, at most.
        n_init: Restarts.
        min_points: Warn below so many points per centroid, see
            `spherical_kmeans`; like `max_points` it holds for the k-means
            over images, not for centroids or splits within parents.
        max_points: Subsample above so many points per centroid.
        spherical: Whether k-means keeps centroids at length 1. If not,
            distances (and with them the concentration) are to the means,
            and the level holds the normalised means: PCL's clustering.
        balance: Factor >= 1 of the bounds on sizes; `independent` only,
            since nested sizes can not meet bounds at two levels at once
            in general.
        min_ratio: Least ratio of neighbouring counts that are nested.
        extra_iter_per_doubling: Iterations more for every doubling of a
            count over the smallest.
        alpha: See `concentration`.
        clip: See `concentration`.
        precision: See `spherical_kmeans`.
        chunk_mib: See `spherical_kmeans`.
        tolerance: See `spherical_kmeans`.
        warm_iter: Iterations at most of a level with `init`; None for as
            many as any.
        shards: Where the other points are, see `spherical_kmeans`; the
            hierarchy is of all points, and the same on every process. Not
            for divisive linkage.

    Returns:
        The levels, finest first.

    Raises:
        ValueError: If an argument does not fit: counts that repeat, are not
            positive, exceed N or are nested too close; an unknown linkage
            or backend; features that are not finite.
        ImportError: If the backend's library is not installed.
    """
    features = check_features(features, may_be_empty=shards is not ALONE)
    counts = check_hierarchy(
        num_clusters,
        shards.num_points(features),
        linkage=linkage,
        backend=backend,
        balance=balance,
        min_ratio=min_ratio,
        device=features.device,
    )
    if extra_iter_per_doubling < 0:
        raise ValueError(
            f'expected extra_iter_per_doubling >= 0, got '
            f'{extra_iter_per_doubling}'
        )
    if linkage == 'divisive' and shards is not ALONE:
        raise ValueError(
            "expected linkage 'independent' or 'agglomerative' with features "
            "in parts, got 'divisive': splits need all points in one process"
        )
    warm = {
        k: check_init(v, k, features)
        for k, v in (init or {}).items()
        if k in counts
    }

    def settings(k: int) -> dict[str, Any]:
        extra = extra_iter_per_doubling * math.log2(k / counts[-1])
        most = n_iter + round(extra)
        if k in warm and warm_iter is not None:
            most = min(most, warm_iter)
        return {
            'n_iter': most,
            'n_init': n_init,
            'seed': seed_from(seed, k),
            'init': warm.get(k),
            'spherical': spherical,
        }

    search = {
        'backend': backend,
        'precision': precision,
        'chunk_mib': chunk_mib,
        'tolerance': tolerance,
    }
    images = {
        'min_points': min_points,
        'max_points': max_points,
        'balance': balance,
        'shards': shards,
        **search,
    }
    found: list[_Found] = []  # finest first
    if linkage == 'independent':
        found = [
            _Found(cluster_images(features, k, **settings(k), **images))
            for k in counts
        ]
    elif linkage == 'agglomerative':
        found = [
            _Found(
                cluster_images(
                    features, counts[0], **settings(counts[0]), **images
                )
            )
        ]
        for k in counts[1:]:
            fine = found[-1]
            coarse, parents = merge_clusters(
                features,
                fine.clustering,
                k,
                shards,
                **settings(k),
                **search,
            )
            found[-1] = _Found(fine.clustering, parents)
            found.append(_Found(coarse))
    else:
        found = [
            _Found(
                cluster_images(
                    features, counts[-1], **settings(counts[-1]), **images
                )
            )
        ]
        for k in reversed(counts[:-1]):
            split, parents = split_clusters(
                features, found[0].clustering, k, **settings(k)
            )
            found.insert(0, _Found(split, parents))
    return PrototypeHierarchy(
        prototype_level(
            _of_all(f.clustering, shards),
            f.parents,
            temperature=temperature,
            alpha=alpha,
            clip=clip,
        )
        for f in found
    )


def check_hierarchy(
    num_clusters: Sequence[int],
    num_points: int,
    *,
    linkage: str,
    backend: str,
    balance: float | None,
    min_ratio: float,
    device: torch.device,
) -> tuple[int, ...]:
    """Check what `build_hierarchy` would be asked, without any features.

    Args:
        num_clusters: Counts of the levels.
        num_points: N.
        linkage: See `build_hierarchy`, as all below.
        backend: Must be installed.
        balance: None with a nested linkage.
        min_ratio: Between nested counts.
        device: Where the features will be.

    Returns:
        The counts, descending.

    Raises:
        ValueError: If an argument does not fit.
        ImportError: If the backend's library is not installed.
    """
    counts = check_counts(num_clusters, num_points, linkage, min_ratio)
    resolve_backend(backend, device)
    check_balance(balance)
    if balance is not None and linkage != 'independent':
        raise ValueError(
            f'expected balance=None with linkage={linkage!r}, got {balance}: '
            f'the sizes of nested clusters can not be bounded at every level '
            f'at once; use linkage="independent"'
        )
    return counts


@dataclass(frozen=True, eq=False)
class _Found:
    """A level before its concentration is known."""

    clustering: Clustering
    parents: Tensor | None = None


def _of_all(found: Clustering, shards: Shards) -> Clustering:
    """The clustering of all points from that of the own ones."""
    return replace(
        found,
        assignments=shards.all_gather(found.assignments),
        distances=shards.all_gather(found.distances),
    )
