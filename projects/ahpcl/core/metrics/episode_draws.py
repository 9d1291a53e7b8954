"""Draws the images of few-shot episodes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ahpcl.core.validation import whole_number

__all__ = ['check_episodes', 'sample_episodes']

_FLOATS_AT_ONCE = 1 << 24


def sample_episodes(
    labels: Tensor,
    *,
    ways: int,
    shots: int,
    queries: int | None,
    episodes: int,
    seed: int = 0,
    width: int = 1,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw the images of episodes, without repetition within an episode.

    Args:
        labels: Classes, (N,), any integers.
        ways: Classes of an episode, W.
        shots: Labelled images of each, S.
        queries: Images of each to classify, Q; None takes all the rest.
        episodes: Number of episodes, E.
        seed: Seed of the draw.
        width: Floats per image that the caller will hold, which sets how
            many episodes come at once.

    Yields:
        Indices into `labels` on the CPU, (E', W, S) and (E', W, Q), padded
        with -1 where a class has fewer than Q others (`queries=None`).

    Raises:
        ValueError: If there are too few classes or images, or a number is
            out of range.

    Examples:
        >>> labels = torch.arange(4).repeat_interleave(10)
        >>> ((shots, queries),) = sample_episodes(
        ...     labels, ways=2, shots=1, queries=5, episodes=3
        ... )
        >>> tuple(shots.shape), tuple(queries.shape)
        ((3, 2, 1), (3, 2, 5))
    """
    ways = whole_number(ways, 'ways', least=2)
    shots = whole_number(shots, 'shots', least=1)
    episodes = whole_number(episodes, 'episodes', least=1)
    if queries is not None:
        queries = whole_number(queries, 'queries', least=1)
    table = _images_by_class(labels, ways, shots, queries)
    num_classes, largest = table.shape
    taken = largest if queries is None else shots + queries
    generator = torch.Generator().manual_seed(seed)
    at_once = max(1, _FLOATS_AT_ONCE // (ways * max(taken * width, largest)))
    for start in range(0, episodes, at_once):
        number = min(at_once, episodes - start)
        draw = torch.rand(number, num_classes, generator=generator)
        rows = table[draw.argsort(dim=1)[:, :ways]]
        order = torch.rand(rows.shape, generator=generator)
        order = order.masked_fill(rows < 0, 2.0).argsort(dim=2)[:, :, :taken]
        images = rows.gather(2, order)
        yield images[:, :, :shots], images[:, :, shots:]


def check_episodes(
    labels: Tensor, *, ways: int, shots: int, queries: int | None
) -> None:
    """Check that episodes can be drawn from the images.

    Args:
        labels: Classes, (N,), any integers.
        ways: Classes of an episode.
        shots: Labelled images of each.
        queries: Images of each to classify; None takes all the rest.

    Raises:
        ValueError: If there are too few classes or images.

    Examples:
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> check_episodes(labels, ways=2, shots=1, queries=1)
        >>> check_episodes(labels, ways=3, shots=1, queries=1)
        Traceback (most recent call last):
            ...
        ValueError: expected at least 3 classes, got 2; lower ways
    """
    _images_by_class(
        labels,
        whole_number(ways, 'ways', least=2),
        whole_number(shots, 'shots', least=1),
        None if queries is None else whole_number(queries, 'queries', least=1),
    )


def _images_by_class(
    labels: Tensor, ways: int, shots: int, queries: int | None
) -> Tensor:
    """Return the images of every class, (C, largest), padded with -1."""
    classes, inverse, counts = torch.unique(
        labels.cpu(), return_inverse=True, return_counts=True
    )
    if len(classes) < ways:
        raise ValueError(
            f'expected at least {ways} classes, got {len(classes)}; lower ways'
        )
    needed = shots + (1 if queries is None else queries)
    if int(counts.min()) < needed:
        smallest = int(counts.argmin())
        raise ValueError(
            f'expected at least {needed} images (shots + queries) of every '
            f'class, got {int(counts[smallest])} of class '
            f'{int(classes[smallest])}; lower queries or leave the class out'
        )
    by_class = inverse.argsort(stable=True)
    rank = (
        torch.arange(len(labels))
        - (counts.cumsum(0) - counts)[inverse[by_class]]
    )
    table = torch.full((len(classes), int(counts.max())), -1)
    table[inverse[by_class], rank] = by_class
    return table
