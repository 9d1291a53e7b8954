"""Coarser clusters from the centroids of finer ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.lloyd import Clustering
from ahpcl.core.clustering.segments import distances_to
from ahpcl.core.clustering.shards import Shards

__all__ = ['merge_clusters']


def merge_clusters(
    features: Tensor,
    fine: Clustering,
    k: int,
    shards: Shards,
    **settings: Any,
) -> tuple[Clustering, Tensor]:
    """A coarser level over the centroids of a finer one, and the parents.

    Args:
        features: The own points, (n, D).
        fine: Their clustering.
        k: Count of the coarser level.
        shards: Where the other points are.
        settings: Of `spherical_kmeans`.

    Returns:
        The clustering of the own points, and the coarse cluster of every
        fine one.
    """
    sizes = shards.sum(
        fine.assignments.bincount(minlength=len(fine.centroids))
    )
    result = spherical_kmeans(
        fine.centroids, k, weights=sizes.float(), **settings
    )
    centroids = shards.broadcast(result.centroids)
    parents = shards.broadcast(result.assignments)
    assignments = parents[fine.assignments]
    coarse = Clustering(
        centroids,
        assignments,
        distances_to(features, centroids, assignments),
        result.n_iter,
        result.num_repaired,
    )
    return coarse, parents
