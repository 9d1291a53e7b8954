"""Clusters of (nearly) equal size in place of those of k-means."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ahpcl.core.clustering.equal_codes import equal_labels
from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.points import Clustering
from ahpcl.core.clustering.rows import distances_to, segment_sum, unit_rows
from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.validation import whole_number

__all__ = ['EqualSizeSettings', 'equal_clusters']


@dataclass(frozen=True)
class EqualSizeSettings:
    """How clusters of equal size are sought.

    Attributes:
        rounds: How often labels and prototypes are made in turn, at least 1.
        epsilon: Temperature of the cosines in the transport, in units of
            their spread over the prototypes (standard deviation, mean over
            the points), which is small at first; the smaller, the nearer to
            the hard optimum and the slower.
        max_iter: Most rounds of Sinkhorn and Knopp, see `equal_labels`.
        tolerance: Tolerance of the sizes, see `equal_labels`.
        kmeans: Settings of the k-means that gives the first prototypes.

    Raises:
        ValueError: If a number is out of range.
    """

    rounds: int = 3
    epsilon: float = 0.05
    max_iter: int = 200
    tolerance: float = 0.02
    kmeans: KMeansSettings = KMeansSettings(n_iter=10, n_init=1)

    def __post_init__(self) -> None:
        for name in ('rounds', 'max_iter'):
            whole_number(getattr(self, name), name, least=1)
        for name in ('epsilon', 'tolerance'):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f'expected {name} above 0, got {getattr(self, name)}'
                )


def equal_clusters(
    features: Tensor,
    num_clusters: int,
    settings: EqualSizeSettings = EqualSizeSettings(),
    *,
    seed: int = 0,
    init: Tensor | None = None,
) -> Clustering:
    """Label points so that all labels occur equally often.

    The transport of SeLa (Asano et al., ICLR 2020) between points and
    prototypes in turn with prototypes as the normalised means of their
    points.

    Args:
        features: Unit rows, (N, D).
        num_clusters: K, at most N.
        settings: How to do so.
        seed: Seed of the k-means that gives the first prototypes.
        init: First prototypes, (K, D) unit rows, instead of a k-means.

    Returns:
        Prototypes, assignments and distances; `n_iter` are the rounds.

    Raises:
        ValueError: If a shape or a number is out of range.

    Examples:
        >>> points = torch.tensor([[1, 0], [0.96, 0.28], [0.8, 0.6], [0, 1]])
        >>> equal_clusters(points, 2, init=torch.eye(2)).sizes()
        tensor([2, 2])
    """
    if init is None:
        init = spherical_kmeans(
            features, num_clusters, settings.kmeans, seed=seed
        ).centroids
    centroids = init.to(features)
    for _ in range(settings.rounds):
        scores = features @ centroids.t()
        spread = float(scores.std(dim=1, correction=0).mean())
        # Equal scores are equal in any unit.
        spread = max(spread, torch.finfo(scores.dtype).eps)
        labels = equal_labels(
            scores,
            power=1 / (settings.epsilon * spread),
            max_iter=settings.max_iter,
            tolerance=settings.tolerance,
        )
        sums = segment_sum(features, labels, num_clusters).to(features)
        centroids = unit_rows(sums, centroids)
    distances = distances_to(features, centroids, labels)
    return Clustering(
        centroids,
        labels,
        distances,
        objective=float(distances.double().square().mean()),
        n_iter=settings.rounds,
    )
