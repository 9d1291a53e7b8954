"""Which cluster of an E-step is which of the one before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from ahpcl.core.clustering.prototypes import PrototypeHierarchy, PrototypeLevel

__all__ = ['keep_identities', 'match_clusters']


def match_clusters(new: Tensor, old: Tensor, num_clusters: int) -> Tensor:
    """Give every new cluster the number of the old one it continues.

    The pair of clusters that has most images in common is matched first,
    then the next of those that are left (of equals the lowest numbers). At
    least half of what the best matching has in common is so found, in
    O(N log N) and without a table of K * K. Clusters with nothing left in
    common take the free numbers in order.

    Args:
        new: Cluster of every image, (N,) int64 in [0, K).
        old: That of the same images before, (N,) int64 in [0, K).
        num_clusters: K.

    Returns:
        The number of every new cluster, a permutation, (K,) int64.

    Raises:
        ValueError: If the shapes do not fit.

    Examples:
        >>> old, new = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 0, 0])
        >>> match_clusters(new, old, num_clusters=2)
        tensor([1, 0])
    """
    if new.ndim != 1 or new.shape != old.shape:
        raise ValueError(
            f'expected two clusterings of the same images, each (N,), got '
            f'{tuple(new.shape)} and {tuple(old.shape)}'
        )
    pairs, common = torch.unique(new * num_clusters + old, return_counts=True)
    order = torch.argsort(common, descending=True, stable=True)
    rows, columns = pairs[order] // num_clusters, pairs[order] % num_clusters
    found = torch.full((num_clusters,), -1, device=new.device)
    taken = torch.zeros(num_clusters, dtype=torch.bool, device=new.device)
    while len(rows):
        # The first pair of its row and of its column is matched for good.
        rank = torch.arange(len(rows), device=new.device)
        first = rank.new_full((2, num_clusters), len(rows))
        first[0].scatter_reduce_(0, rows, rank, 'amin')
        first[1].scatter_reduce_(0, columns, rank, 'amin')
        best = (first[0][rows] == rank) & (first[1][columns] == rank)
        found[rows[best]] = columns[best]
        taken[columns[best]] = True
        left = (found[rows] < 0) & ~taken[columns]
        rows, columns = rows[left], columns[left]
    found[found < 0] = (~taken).nonzero().squeeze(1)
    return found


def keep_identities(
    hierarchy: PrototypeHierarchy,
    previous: PrototypeHierarchy,
    counts: Collection[int] | None = None,
) -> PrototypeHierarchy:
    """Number the clusters as those before that they continue.

    Histories and galleries then follow a cluster by its number. Nothing else
    changes: a level is the same set of clusters as before.

    Args:
        hierarchy: The new one.
        previous: The one before, of the same images.
        counts: Levels to number anew, where both have them; None for all.
            A warm-started level has its numbers already.

    Returns:
        The hierarchy with its clusters in another order.

    Examples:
        >>> where, phi = torch.tensor([0, 0, 1]), torch.ones(2)
        >>> old, new = (
        ...     PrototypeHierarchy([PrototypeLevel(torch.eye(2), own, phi)])
        ...     for own in (where, 1 - where)
        ... )
        >>> keep_identities(new, old)[0].assignments
        tensor([0, 0, 1])
    """
    before = {level.num_clusters: level for level in previous.levels}
    levels = list(hierarchy.levels)
    for place, level in enumerate(levels):
        k = level.num_clusters
        if k not in before or (counts is not None and k not in counts):
            continue
        old = before[k].assignments.to(level.assignments.device)
        number = match_clusters(level.assignments, old, k)
        levels[place] = _renumbered(level, number)
        if place and (parents := levels[place - 1].parents) is not None:
            levels[place - 1] = replace(
                levels[place - 1], parents=number[parents]
            )
    return PrototypeHierarchy(levels)


def _renumbered(level: PrototypeLevel, number: Tensor) -> PrototypeLevel:
    order = torch.argsort(number)
    parents = level.parents
    return replace(
        level,
        centroids=level.centroids[order],
        assignments=number[level.assignments],
        concentration=level.concentration[order],
        parents=None if parents is None else parents[order],
    )
