"""One level of a hierarchy: its k-means and its concentration."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ahpcl.core.clustering.concentration import concentration
from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.lloyd import Clustering
from ahpcl.core.clustering.points import unit_rows
from ahpcl.core.clustering.prototypes import PrototypeLevel

__all__ = ['cluster_images', 'prototype_level']

_ROUNDING = 1e-5


def cluster_images(features: Tensor, k: int, **settings: Any) -> Clustering:
    """One k-means over images, see `spherical_kmeans`."""
    result = spherical_kmeans(features, k, **settings)
    return Clustering(
        result.centroids,
        result.assignments,
        result.distances,
        result.n_iter,
        result.num_repaired,
    )


def prototype_level(
    clustering: Clustering,
    parents: Tensor | None = None,
    *,
    temperature: float,
    alpha: float = 10.0,
    clip: tuple[float, float] = (10, 90),
) -> PrototypeLevel:
    """A level from a clustering of all images, with its concentration.

    Args:
        clustering: Of the features of all images.
        parents: Cluster of the next coarser level of every cluster, (K,).
        temperature: Mean concentration.
        alpha: See `concentration`.
        clip: See `concentration`.
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
            len(clustering.centroids),
            temperature=temperature,
            alpha=alpha,
            clip=clip,
        ),
        parents=parents,
        objective=float(clustering.distances.double().square().mean()),
        num_repaired=clustering.num_repaired,
    )
