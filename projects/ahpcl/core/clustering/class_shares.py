"""How far the images of a cluster are of one class, beyond chance."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ahpcl.core.clustering.agreement import (
    observed_contingency,
    pair_precision,
    purity,
)

__all__ = ['ClassShares', 'class_shares']


class ClassShares(NamedTuple):
    """Purity and pair precision of a grouping, as such and beyond chance.

    Beyond chance is (value - expected) / (100 - expected), in percent: 0 for
    groups of these sizes whose images are drawn at random, 100 for pure ones.

    Args:
        purity: See `purity`, percent.
        purity_beyond_chance: Percent.
        pairs: See `pair_precision`, percent.
        pairs_beyond_chance: Percent.
        pairs_by_class: The same for every class: of the images that share a
            cluster with an image of it, the share that are of it, beyond
            chance, (C,) percent, in ascending order of the labels; NaN for a
            class whose images are all alone in their clusters.
    """

    purity: float
    purity_beyond_chance: float
    pairs: float
    pairs_beyond_chance: float
    pairs_by_class: Tensor


def class_shares(
    predicted: Tensor, labels: Tensor, *, draws: int = 20, seed: int = 0
) -> ClassShares:
    """How far the images of a cluster are of one class, beyond chance.

    What chance gives is exact for pairs. The purity that it gives is the mean
    over random permutations of the labels.

    Args:
        predicted: Cluster of every image, (N,) integers.
        labels: Class of every image, (N,).
        draws: Number of the permutations.
        seed: Seed of the permutations.

    Raises:
        ValueError: If the shapes do not fit or N is 0.

    Examples:
        >>> clusters = torch.tensor([0, 0, 1, 1, 1, 1])
        >>> classes = torch.tensor([0, 0, 1, 1, 1, 0])
        >>> shares = class_shares(clusters, classes)
        >>> round(shares.purity, 1), round(shares.pairs, 1)
        (83.3, 57.1)
    """
    table = observed_contingency(predicted, labels)[0].double()
    number = len(predicted)
    sizes, classes = table.sum(1), table.sum(0)
    same = table * (table - 1)
    others = table * (sizes[:, None] - 1)
    by_class = 100 * same.sum(0) / others.sum(0)
    chance_by_class = 100 * (classes - 1) / max(number - 1, 1)
    chance = (
        100 * (classes * (classes - 1)).sum() / max(number * (number - 1), 1)
    )
    pairs = pair_precision(predicted, labels)
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        purity(predicted.cpu(), labels.cpu()[order])
        for order in (
            torch.randperm(number, generator=generator) for _ in range(draws)
        )
    ]
    own = purity(predicted, labels)
    return ClassShares(
        purity=own,
        purity_beyond_chance=_beyond(own, sum(drawn) / draws),
        pairs=pairs,
        pairs_beyond_chance=_beyond(pairs, float(chance)),
        pairs_by_class=100
        * (by_class - chance_by_class)
        / (100 - chance_by_class),
    )


def _beyond(value: float, expected: float) -> float:
    """Percent of the way from what is expected by chance to 100."""
    return 100 * (value - expected) / (100 - expected) if expected < 100 else 0
