"""What one candidate number of clusters has for it, measured."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core.clustering.agreement import adjusted_rand
from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.seeding import seed_from

__all__ = [
    'Halves',
    'candidate_counts',
    'compare_halves',
    'cosine_silhouette',
    'restart_agreement',
    'structureless_like',
]


class Halves(NamedTuple):
    """How two halves of the images agree on a number of clusters.

    Args:
        agreement: Adjusted Rand index of the clusterings that the two halves
            give to all images; 1 if they are the same, about 0 by chance.
        silhouette: Mean silhouette of images in the clusters of the half
            that they are not in, -1 to 1.
        tightness: Mean cosine of images with the centroid of such a cluster.
    """

    agreement: float
    silhouette: float
    tightness: float


def candidate_counts(most: int, ratio: float = 1.25) -> list[int]:
    """Return numbers of clusters from 2 on that grow by a factor.

    Args:
        most: The largest number, which is the last one.
        ratio: Factor, above 1; neighbours differ by 1 at least.

    Examples:
        >>> candidate_counts(20)
        [2, 3, 4, 5, 6, 8, 10, 12, 15, 19, 20]
    """
    counts = []
    exact = 2.0
    while round(exact) <= most:
        counts.append(round(exact))
        exact = max(exact * ratio, counts[-1] + 1)
    if counts and counts[-1] < most:
        counts.append(most)
    return counts


def structureless_like(features: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a single cloud with the mean and covariance of the features.

    It is a normal distribution brought to the sphere, as the features are:
    what is found in it is there without any kinds. A dominant direction (of
    colour, say) is as dominant in it.

    Args:
        features: Unit rows, (N, D).
        generator: Source of the draws, on the CPU.

    Returns:
        Unit rows, (N, D).

    Examples:
        >>> source = torch.Generator().manual_seed(0)
        >>> structureless_like(torch.eye(3), source).shape
        torch.Size([3, 3])
    """
    mean = features.mean(dim=0)
    centred = (features - mean) / math.sqrt(max(len(features) - 1, 1))
    # Random mixtures of the centred rows have their covariance.
    draws = torch.randn(len(features), len(features), generator=generator)
    return F.normalize(mean + draws @ centred, dim=1)


def compare_halves(
    features: Tensor,
    num_clusters: int,
    settings: KMeansSettings,
    *,
    seed: int,
) -> Halves:
    """Cluster two random halves of the images, each from a cold start.

    Each half's clusters are given to all images by the nearest centroid
    (Lange et al., Neural Computation 2004; Tibshirani and Walther, Journal
    of Computational and Graphical Statistics 2005).

    Args:
        features: Unit rows, (N, D).
        num_clusters: K, at most half of N.
        settings: How to cluster.
        seed: Seed of the halves; the same for every K gives the same halves.

    Examples:
        >>> points = torch.eye(3).repeat(8, 1)
        >>> compare_halves(points, 3, KMeansSettings(), seed=0).agreement
        1.0
    """
    generator = torch.Generator().manual_seed(seed_from(seed, 'halves'))
    order = torch.randperm(len(features), generator=generator)
    middle = len(order) // 2
    parts = order[:middle], order[middle:]
    assigned = []
    silhouettes, tightness = [], []
    for place, part in enumerate(parts):
        found = spherical_kmeans(
            features[part],
            num_clusters,
            settings,
            seed=seed_from(seed, 'half', place, num_clusters),
        )
        cosines = features @ found.centroids.t()
        nearest, clusters = cosines.max(dim=1)
        others = parts[1 - place]
        assigned.append(clusters)
        tightness.append(float(nearest[others].mean()))
        silhouettes.append(
            cosine_silhouette(features[others], clusters[others], num_clusters)
        )
    return Halves(
        agreement=adjusted_rand(*assigned),
        silhouette=sum(silhouettes) / 2,
        tightness=sum(tightness) / 2,
    )


def restart_agreement(
    features: Tensor,
    num_clusters: int,
    settings: KMeansSettings,
    *,
    restarts: int,
    seed: int,
) -> float:
    """Return the mean adjusted Rand index of cold starts on all images.

    Args:
        features: Unit rows, (N, D).
        num_clusters: K, at most N.
        settings: How to cluster.
        restarts: Number of starts, two or more; all pairs are compared.
        seed: Seed of the starts.

    Examples:
        >>> points = torch.eye(3).repeat(4, 1)
        >>> settings = KMeansSettings(n_init=1)
        >>> restart_agreement(points, 3, settings, restarts=2, seed=0)
        1.0
    """
    found = [
        spherical_kmeans(
            features,
            num_clusters,
            settings,
            seed=seed_from(seed, 'restart', place, num_clusters),
        ).assignments
        for place in range(restarts)
    ]
    scores = [
        adjusted_rand(first, second)
        for place, first in enumerate(found)
        for second in found[:place]
    ]
    return sum(scores) / len(scores)


def cosine_silhouette(
    features: Tensor, assignments: Tensor, num_clusters: int
) -> float:
    """Return the mean silhouette coefficient by cosine, of all images.

    The mean cosine of an image with a cluster is its cosine with the mean of
    the cluster, so that the time grows with N * K and not with N * N.
    `ahpcl.core.metrics.silhouette` compares a sample in pairs.

    Args:
        features: Unit rows, (N, D).
        assignments: Cluster of every image, (N,).
        num_clusters: K; clusters may be empty.

    Returns:
        -1 to 1; 0 where all images are in one cluster. Images that are alone
        in their cluster count 0.

    Examples:
        >>> features = torch.eye(2).repeat_interleave(2, dim=0)
        >>> cosine_silhouette(features, torch.tensor([0, 0, 1, 1]), 2)
        1.0
    """
    rows = features.double()
    sums = rows.new_zeros(num_clusters, rows.shape[1])
    sums.index_add_(0, assignments, rows)
    sizes = torch.bincount(assignments, minlength=num_clusters)
    if int((sizes > 0).sum()) < 2:
        return 0.0
    dots = rows @ sums.t()
    own = assignments[:, None]
    other_means = 1 - dots / sizes.clamp(min=1)
    other_means[:, sizes == 0] = math.inf
    nearest = other_means.scatter(1, own, math.inf).min(dim=1).values
    # An image is left out of the mean of its own cluster.
    mates = (sizes[assignments] - 1).clamp(min=1)
    with_itself = rows.square().sum(dim=1)
    inside = 1 - (dots.gather(1, own)[:, 0] - with_itself) / mates
    scale = torch.maximum(nearest, inside).clamp(min=1e-12)
    scores = (nearest - inside) / scale
    scores[sizes[assignments] < 2] = 0
    return float(scores.mean())
