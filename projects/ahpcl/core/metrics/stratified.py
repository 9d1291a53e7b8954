"""Choices of images that keep the shares of the classes."""

from __future__ import annotations

import torch
from torch import Tensor

from ahpcl.core.seeding import seed_from

__all__ = ['stratified_count', 'stratified_share']


def stratified_share(
    labels: Tensor, share: float, *, seed: int = 0, least: int = 1
) -> Tensor:
    """Choose a share of the images of every class.

    Args:
        labels: Classes, (N,) integers.
        share: Share of the images, above 0 and below 1; numbers are rounded.
        seed: Seed that chooses the images.
        least: Fewest images of a class that are chosen, and fewest that are
            left over, where the class has twice as many.

    Returns:
        (N,) bool on the CPU, True for the chosen.

    Raises:
        ValueError: If the share is out of range.

    Examples:
        >>> labels = torch.tensor([0] * 10 + [1] * 20)
        >>> labels[stratified_share(labels, 0.2)].bincount()
        tensor([2, 4])
    """
    if not 0 < share < 1:
        raise ValueError(f'expected a share between 0 and 1, got {share}')
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for places in _shuffled_by_class(labels, seed):
        number = round(share * len(places))
        if len(places) >= 2 * least:
            number = min(max(number, least), len(places) - least)
        chosen[places[:number]] = True
    return chosen


def stratified_count(labels: Tensor, count: int, *, seed: int = 0) -> Tensor:
    """Choose `count` images of every class.

    Args:
        labels: Classes, (N,) integers.
        count: Images of every class, from 1.
        seed: Seed that chooses the images.

    Returns:
        (N,) bool on the CPU, True for the chosen.

    Raises:
        ValueError: If a class has fewer.

    Examples:
        >>> labels = torch.tensor([0] * 10 + [1] * 20)
        >>> labels[stratified_count(labels, 3)].bincount()
        tensor([3, 3])
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for places in _shuffled_by_class(labels, seed):
        if len(places) < count:
            raise ValueError(
                f'expected at least {count} images of every class, got '
                f'{len(places)} of class {int(labels[places[0]])}'
            )
        chosen[places[:count]] = True
    return chosen


def _shuffled_by_class(labels: Tensor, seed: int) -> list[Tensor]:
    """Return the places of the images of every class, shuffled."""
    labels = labels.cpu()
    generator = torch.Generator().manual_seed(seed_from(seed, 'stratified'))
    order = torch.rand(len(labels), generator=generator)
    found = []
    for label in torch.unique(labels):
        places = (labels == label).nonzero().squeeze(1)
        found.append(places[order[places].argsort()])
    return found
