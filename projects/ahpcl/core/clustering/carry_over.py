"""The clusters of images that are not quite those that were clustered."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ahpcl.core.clustering.prototypes import PrototypeHierarchy, PrototypeLevel
from ahpcl.core.clustering.search import exact_nearest
from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.clustering.shards import ALONE, Shards

__all__ = ['carry_over']


def carry_over(
    hierarchy: PrototypeHierarchy,
    places: Tensor,
    features: Tensor | None = None,
    shards: Shards = ALONE,
) -> PrototypeHierarchy:
    """Assign the images at hand to the clusters of an earlier E-step.

    Prototypes stay as they are, with their numbers. An image that was there
    keeps its cluster; a new one takes that of the nearest prototype, where
    levels are nested at the finest level and then its parents.

    Args:
        hierarchy: Prototypes, with the assignments of the earlier images.
        places: Where every image at hand was among those, (N,) int64; -1
            for new ones.
        features: Unit rows of the images at hand, (N, D), or the own ones;
            only needed where some are new.
        shards: Where the other features are.

    Returns:
        The same prototypes, with assignments (N,).

    Raises:
        ValueError: If some are new and there are no features.

    Examples:
        >>> import torch
        >>> own, phi = torch.tensor([0, 0, 1]), torch.ones(2)
        >>> old = PrototypeHierarchy([PrototypeLevel(torch.eye(2), own, phi)])
        >>> rows = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> carry_over(old, torch.tensor([2, -1]), rows)[0].assignments
        tensor([1, 0])
    """
    new = places < 0
    some = bool(new.any())
    if some and features is None:
        raise ValueError(
            f'expected features to assign {int(new.sum())} new images, got '
            'none'
        )
    levels: list[PrototypeLevel] = []
    near: Tensor | None = None
    for place, level in enumerate(hierarchy):
        home = level.assignments.device
        found = level.assignments[places.clamp(min=0).to(home)]
        if some:
            parents = hierarchy[place - 1].parents if place else None
            if near is not None and parents is not None:
                near = parents[near]
            else:
                assert features is not None
                rows = features.to(level.centroids.device).float()
                own = exact_nearest(
                    rows, level.centroids.float(), KMeansSettings()
                )
                near = shards.all_gather(own).to(home)
            found = found.where(~new.to(home), near)
        levels.append(replace(level, assignments=found))
    return PrototypeHierarchy(levels)
