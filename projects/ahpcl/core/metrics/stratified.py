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
        share: Between 0 and 1, both left out; numbers are rounded.
        seed: Seed of the choice.
        least: Of every class at least so many, and so many are left over,
            where it has twice as many.

    Returns:
        (N,) bool on the CPU, True for the chosen.

    Raises:
        ValueError: If the share is out of range.
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
    """Choose so many images of every class.

    Args:
        labels: Classes, (N,) integers.
        count: From 1.
        seed: Seed of the choice.

    Returns:
        (N,) bool on the CPU, True for the chosen.

    Raises:
        ValueError: If a class has fewer.
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
    """Places of the images of every class, in an order of the seed."""
    labels = labels.cpu()
    generator = torch.Generator().manual_seed(seed_from(seed, 'stratified'))
    order = torch.rand(len(labels), generator=generator)
    found = []
    for label in torch.unique(labels):
        places = (labels == label).nonzero().squeeze(1)
        found.append(places[order[places].argsort()])
    return found
