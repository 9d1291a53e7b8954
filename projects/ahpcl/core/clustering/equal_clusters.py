"""Clusters of (nearly) equal size in place of those of k-means."""

from __future__ import annotations

import torch
from torch import Tensor

from ahpcl.core.clustering.equal_codes import equal_labels
from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.lloyd import Clustering
from ahpcl.core.clustering.points import unit_rows
from ahpcl.core.clustering.segments import distances_to, segment_sum

__all__ = ['equal_clusters']


def equal_clusters(
    features: Tensor,
    num_clusters: int,
    *,
    rounds: int = 3,
    epsilon: float = 0.05,
    max_iter: int = 200,
    tolerance: float = 0.02,
    n_iter: int = 10,
    seed: int = 0,
    init: Tensor | None = None,
    backend: str = 'auto',
) -> Clustering:
    """Label points so that all labels occur equally often.

    The transport of SeLa (Asano et al., ICLR 2020) between points and
    prototypes in turn with prototypes as the normalised means of their
    points.

    Args:
        features: Unit rows, (N, D).
        num_clusters: K, at most N.
        rounds: Of labels and prototypes in turn, at least 1.
        epsilon: Temperature of the cosines in the transport, in units of
            their spread over the prototypes (standard deviation, mean over
            the points), which is small at first; the smaller, the nearer to
            the hard optimum and the slower.
        max_iter: Rounds of Sinkhorn and Knopp at most, see `equal_labels`.
        tolerance: Of the sizes, see `equal_labels`.
        n_iter: Iterations of the k-means that gives the first prototypes.
        seed: Of that k-means.
        init: First prototypes, (K, D) unit rows, instead of a k-means.
        backend: Of the k-means, see `ahpcl.core.clustering.search`.

    Returns:
        Prototypes, assignments and distances; `n_iter` are the rounds.

    Raises:
        ValueError: If a shape or a number is out of range.
    """
    if rounds < 1:
        raise ValueError(f'expected rounds of at least 1, got {rounds}')
    if not epsilon > 0:
        raise ValueError(f'expected epsilon above 0, got {epsilon}')
    if init is None:
        init = spherical_kmeans(
            features,
            num_clusters,
            n_iter=n_iter,
            n_init=1,
            seed=seed,
            backend=backend,
        ).centroids
    centroids = init.to(features)
    for _ in range(rounds):
        scores = features @ centroids.t()
        spread = float(scores.std(dim=1, correction=0).mean())
        labels = equal_labels(
            scores,
            # Equal scores are equal in any unit.
            power=1 / (epsilon * max(spread, torch.finfo(scores.dtype).eps)),
            max_iter=max_iter,
            tolerance=tolerance,
        )
        sums = segment_sum(features, labels, num_clusters).to(features)
        centroids = unit_rows(sums, centroids)
    distances = distances_to(features, centroids, labels)
    return Clustering(centroids, labels, distances, rounds, 0)
