"""How far images lie from prototypes that were made without them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.rows import unit_rows
from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.seeding import seed_from

__all__ = ['NoveltyThreshold', 'held_out_distances', 'novelty_threshold']

_FOLDS = 5
# From so many products of points and clusters on, one part is left out.
_LARGE = 2**25
# So many images are drawn of more, or fifty for every cluster.
_MOST = 200_000
_CELLS = 2**24  # cosines at once, 64 MiB


@dataclass(frozen=True)
class NoveltyThreshold:
    """From which distance on an image is unlike any that was clustered.

    Attributes:
        distance: Euclidean, to the nearest prototype of the finest level.
        rate: Share of images like the clustered ones that shall lie beyond.
        measured: Share that lay beyond among held-out images which the
            threshold was not taken from.
        num_images: Number of these images.
    """

    distance: float
    rate: float
    measured: float
    num_images: int


def novelty_threshold(
    features: Tensor,
    num_clusters: int,
    settings: KMeansSettings = KMeansSettings(),
    *,
    rate: float = 0.01,
    seed: int = 0,
) -> NoveltyThreshold | None:
    """Take a threshold from one half of held-out images, try it on the other.

    Distances of images to prototypes that were fitted with them are too
    small to say what is far for a new one, so they are held out, see
    `held_out_distances`.

    Args:
        features: Unit rows, (N, D).
        num_clusters: K of the finest level.
        settings: How to cluster.
        rate: Share of images like these that may lie beyond.
        seed: Seed of all random draws.

    Returns:
        The threshold; None if so few images cannot tell: fewer than two for
        every cluster, or than ten.

    Raises:
        ValueError: If the rate is not between 0 and 1.

    Examples:
        >>> generator = torch.Generator().manual_seed(0)
        >>> points = torch.randn(60, 4, generator=generator)
        >>> points = torch.nn.functional.normalize(points, dim=1)
        >>> found = novelty_threshold(points, 3, rate=0.1)
        >>> found.num_images, 0 < found.distance < 2
        (30, True)
    """
    if not 0 < rate < 1:
        raise ValueError(f'expected a rate between 0 and 1, got {rate}')
    if len(features) < max(10, 2 * num_clusters):
        return None
    most = max(_MOST, 50 * num_clusters)
    if len(features) > most:
        generator = torch.Generator().manual_seed(seed_from(seed, 'most'))
        some = torch.randperm(len(features), generator=generator)[:most]
        features = features[some.to(features.device)]
    distances = held_out_distances(features, num_clusters, settings, seed=seed)
    known = distances[torch.isfinite(distances)]
    half = len(known) // 2
    # The share of n values above the ceil((1 - rate) * (n + 1))-th smallest
    # is the rate or less for one more of their kind.
    place = min(half, math.ceil((1 - rate) * (half + 1)))
    limit = float(known[:half].sort().values[place - 1])
    tried = known[half:]
    return NoveltyThreshold(
        distance=limit,
        rate=rate,
        measured=float((tried > limit).double().mean()),
        num_images=len(tried),
    )


def held_out_distances(
    features: Tensor,
    num_clusters: int,
    settings: KMeansSettings = KMeansSettings(),
    *,
    seed: int = 0,
) -> Tensor:
    """Return the distance of images to prototypes made without them.

    The images are drawn into five parts; each is measured against a k-means
    of the other four. Of many images one part is measured, the others are
    NaN. The order is that of the draw, not that of the features.

    Args:
        features: Unit rows, (N, D).
        num_clusters: K, at most 4 N / 5.
        settings: How to cluster; its balance does not count.
        seed: Seed of all random draws.

    Returns:
        Euclidean distances to the nearest prototype, (N,) float32.

    Examples:
        >>> held_out_distances(torch.eye(10), 2).shape
        torch.Size([10])
    """
    generator = torch.Generator().manual_seed(seed_from(seed, 'held out'))
    order = torch.randperm(len(features), generator=generator)
    order = order.to(features.device)
    settings = replace(settings, balance=None, n_init=1)
    found = []
    for fold, part in enumerate(order.tensor_split(_FOLDS)):
        if fold and len(features) * num_clusters > _LARGE:
            found.append(features.new_full((len(part),), torch.nan))
            continue
        rest = torch.ones(len(features), dtype=torch.bool)
        rest[part.cpu()] = False
        made = spherical_kmeans(
            features[rest.to(features.device)],
            min(num_clusters, int(rest.sum())),
            settings,
            seed=seed_from(seed, 'fold', fold),
        )
        prototypes = unit_rows(made.centroids)
        held_out = features[part].float()
        for block in torch.split(held_out, max(1, _CELLS // num_clusters)):
            own = prototypes[(block @ prototypes.t()).argmax(dim=1)]
            found.append((block - own).norm(dim=1))
    return torch.cat(found)
