"""Which coarse cluster a fine one belongs to, nested or not."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ahpcl.core.clustering.agreement import contingency
from ahpcl.core.clustering.prototypes import PrototypeLevel

__all__ = ['Lineage', 'lineage']


class Lineage(NamedTuple):
    """The parents of the clusters of a level.

    Args:
        parents: Cluster of the coarser level, (K,) int64.
        share: Images of the cluster that are in that one, (K,) float32 from
            0 to 1; all 1 for nested levels, and 0 for a cluster without
            images.
    """

    parents: Tensor
    share: Tensor


def lineage(fine: PrototypeLevel, coarse: PrototypeLevel) -> Lineage:
    """Find the parents of clusters.

    Nested levels know them. Of independent ones, the parent is the coarse
    cluster that most images of the fine one are in, of equals that of the
    lowest index; a cluster without images belongs to the nearest centroid.

    Args:
        fine: A level of K clusters.
        coarse: The next coarser level of the same hierarchy.

    Raises:
        ValueError: If the levels are not of the same images.

    Examples:
        >>> fine = PrototypeLevel(torch.eye(3), torch.arange(3), torch.ones(3))
        >>> half = torch.tensor([0, 0, 1])
        >>> coarse = PrototypeLevel(torch.eye(3)[:2], half, torch.ones(2))
        >>> lineage(fine, coarse).parents
        tensor([0, 0, 1])
    """
    if len(fine.assignments) != len(coarse.assignments):
        raise ValueError(
            f'expected two levels of the same images, got '
            f'{len(fine.assignments)} and {len(coarse.assignments)}'
        )
    table = contingency(
        fine.assignments,
        coarse.assignments,
        fine.num_clusters,
        coarse.num_clusters,
    )
    sizes = table.sum(dim=1)
    if fine.parents is not None:
        parents = fine.parents
    else:
        parents = table.argmax(dim=1)
        nearest = (fine.centroids @ coarse.centroids.t()).argmax(dim=1)
        parents = torch.where(sizes > 0, parents, nearest)
    inside = table.gather(1, parents[:, None]).squeeze(1)
    return Lineage(parents, inside.float() / sizes.clamp(min=1).float())
