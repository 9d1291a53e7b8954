"""To which clusters new points belong, how near, and how surely."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ahpcl.core.clustering.prototypes import PrototypeHierarchy, PrototypeLevel
from ahpcl.core.inputs import LINKAGES

__all__ = ['LevelAssignment', 'assign_points']

_CELLS = 2**24  # cosines at once, 64 MiB


class LevelAssignment(NamedTuple):
    """Where M points belong at one level.

    Args:
        clusters: Cluster of every point, (M,) int64.
        distances: Euclidean distance to its prototype, (M,) float32.
        probabilities: Share of that prototype in softmax_j(v . c_j / phi_j)
            over all prototypes of the level, (M,) float32 from 0 to 1.
    """

    clusters: Tensor
    distances: Tensor
    probabilities: Tensor


def assign_points(
    features: Tensor,
    hierarchy: PrototypeHierarchy,
    *,
    linkage: str = 'independent',
) -> tuple[LevelAssignment, ...]:
    """Find the clusters of points that were not clustered.

    As the clustering assigned its own points: the nearest prototype of every
    level; of an agglomerative hierarchy that of the finest level, and from
    there the parents; of a divisive one that of the coarsest level, and from
    there the nearest among the children. A hierarchy without parents is
    `independent`, whatever the linkage says.

    Args:
        features: Unit rows, (M, D), on the device of the prototypes.
        hierarchy: Prototypes, finest level first.
        linkage: How the hierarchy was made, one of `LINKAGES`.

    Returns:
        A `LevelAssignment` for every level, finest first.

    Raises:
        ValueError: If the features are no finite (M, D), or the linkage is
            unknown.

    Examples:
        >>> one, half = torch.ones(2), torch.tensor([0, 1])
        >>> level = PrototypeLevel(torch.eye(2), half, one)
        >>> points = torch.tensor([[0.6, 0.8]])
        >>> found, = assign_points(points, PrototypeHierarchy([level]))
        >>> found.clusters, found.probabilities
        (tensor([1]), tensor([0.5498]))
    """
    if linkage not in LINKAGES:
        raise ValueError(
            f'expected linkage to be one of {LINKAGES}, got {linkage!r}'
        )
    width = hierarchy.levels[0].centroids.shape[1]
    if features.ndim != 2 or features.shape[1] != width:
        raise ValueError(
            f'expected features of shape (M, {width}), the width of the '
            f'prototypes, got {tuple(features.shape)}'
        )
    features = features.float()
    bad = ~torch.isfinite(features).all(dim=1)
    if bool(bad.any()):
        raise ValueError(
            f'expected finite features, got NaN or infinity in '
            f'{int(bad.sum())} of {len(bad)} rows, row '
            f'{int(bad.nonzero()[0])} first'
        )
    levels = hierarchy.levels
    nested = all(level.parents is not None for level in levels[:-1])
    if len(levels) == 1 or not nested:
        linkage = 'independent'
    chunk = max(1, _CELLS // levels[0].num_clusters)
    parts = [
        _assign(block, levels, linkage)
        for block in torch.split(features, chunk)
    ]
    return tuple(
        LevelAssignment(*map(torch.cat, zip(*found, strict=True)))
        for found in zip(*parts, strict=True)
    )


def _assign(
    features: Tensor, levels: tuple[PrototypeLevel, ...], linkage: str
) -> list[LevelAssignment]:
    cosines = [features @ level.centroids.float().t() for level in levels]
    clusters = [cosine.argmax(dim=1) for cosine in cosines]
    if linkage == 'agglomerative':
        for place, level in enumerate(levels[:-1]):
            parents = _parents(level, features)
            clusters[place + 1] = parents[clusters[place]]
    elif linkage == 'divisive':
        for place in reversed(range(len(levels) - 1)):
            parents = _parents(levels[place], features)
            others = parents[None] != clusters[place + 1][:, None]
            # A cluster that is nobody's parent has no children to choose.
            others &= ~others.all(dim=1, keepdim=True)
            inside = cosines[place].masked_fill(others, -torch.inf)
            clusters[place] = inside.argmax(dim=1)
    return [
        _level(features, level, cosine, own)
        for level, cosine, own in zip(levels, cosines, clusters, strict=True)
    ]


def _parents(level: PrototypeLevel, features: Tensor) -> Tensor:
    assert level.parents is not None
    return level.parents.to(features.device)


def _level(
    features: Tensor, level: PrototypeLevel, cosines: Tensor, clusters: Tensor
) -> LevelAssignment:
    logits = cosines / level.concentration.float()
    shares = logits.softmax(dim=1).gather(1, clusters[:, None]).squeeze(1)
    own = level.centroids.float()[clusters]
    return LevelAssignment(clusters, (features - own).norm(dim=1), shares)
