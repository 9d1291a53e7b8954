"""Nearest neighbours of images, and outliers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core.inputs import check_rows
from ahpcl.core.validation import whole_number

__all__ = [
    'nearest_neighbours',
    'neighbour_outliers',
    'prototype_outliers',
]


_CELLS = 2**25  # cosines at once, 128 MiB


def nearest_neighbours(
    query: Tensor, bank: Tensor, k: int, *, chunk_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the k rows of a bank that are nearest by cosine.

    Args:
        query: Features to search for, (M, D); normalised here.
        bank: Features to search in, (N, D); normalised here.
        k: Number of neighbours, from 1; at most N are taken.
        chunk_size: Queries at once; memory grows with `chunk_size * N`. None
            takes as many as 128 MiB of cosines have room for.

    Returns:
        Cosines, nearest first, (M, k), and indices into the bank, (M, k).

    Raises:
        ValueError: If shapes do not fit or a feature is not finite.

    Examples:
        >>> nearest_neighbours(torch.eye(3)[:1], torch.eye(3), k=1)
        (tensor([[1.]]), tensor([[0]]))
    """
    k = min(whole_number(k, 'k', least=1), len(bank))
    chunk_size = _chunk(chunk_size, len(bank))
    rows, all_rows = _unit(query), _unit(bank)
    if rows.shape[1] != all_rows.shape[1]:
        raise ValueError(
            'expected queries and a bank of as many dimensions, got '
            f'{tuple(query.shape)} and {tuple(bank.shape)}'
        )
    values, places = [], []
    for start in range(0, len(rows), chunk_size):
        found = (rows[start : start + chunk_size] @ all_rows.t()).topk(k)
        values.append(found.values)
        places.append(found.indices)
    return torch.cat(values), torch.cat(places)


def neighbour_outliers(
    features: Tensor, *, k: int = 10, chunk_size: int | None = None
) -> Tensor:
    """Return the mean distance of every image to its k nearest others.

    Distances are Euclidean on the unit sphere (Angiulli & Pizzuti, "Fast
    outlier detection in high dimensional spaces", PKDD 2002, who take the
    sum).

    Args:
        features: Features, (N, D), N from 2; normalised here.
        k: Number of others; at most N - 1 are taken.
        chunk_size: Images at once, as in :func:`nearest_neighbours`.

    Returns:
        Scores, (N,); larger is odder.

    Raises:
        ValueError: If there are fewer than two images or a feature is not
            finite.

    Examples:
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> neighbour_outliers(features, k=1)
        tensor([0.0000, 0.0000, 1.4142])
    """
    if len(features) < 2:
        raise ValueError(f'expected at least two images, got {len(features)}')
    k = min(whole_number(k, 'k', least=1), len(features) - 1)
    chunk_size = _chunk(chunk_size, len(features))
    rows = _unit(features)
    scores = []
    for start in range(0, len(rows), chunk_size):
        cosine = rows[start : start + chunk_size] @ rows.t()
        own = torch.arange(len(cosine), device=rows.device)
        cosine[own, own + start] = -torch.inf
        nearest = cosine.topk(k).values
        scores.append((2 - 2 * nearest).clamp(min=0).sqrt().mean(dim=1))
    return torch.cat(scores)


def prototype_outliers(
    distances: Tensor, assignments: Tensor, concentration: Tensor
) -> Tensor:
    """Return the distance of every image to its prototype in units of phi.

    phi is the mean distance of the cluster's images, smoothed by their
    number and scaled (PCL, ICLR 2021, section 3.3): of equal distances that
    in the tighter cluster is the odder.

    Args:
        distances: Euclidean distance of every image to its prototype, (N,).
        assignments: Cluster of every image, (N,).
        concentration: phi of every cluster, (K,) above 0.

    Returns:
        Scores, (N,); larger is odder.

    Raises:
        ValueError: If shapes do not fit.

    Examples:
        >>> distances = torch.tensor([0.4, 0.4])
        >>> clusters = torch.tensor([0, 1])
        >>> prototype_outliers(distances, clusters, torch.tensor([0.2, 0.1]))
        tensor([2., 4.])
    """
    if distances.ndim != 1 or distances.shape != assignments.shape:
        raise ValueError(
            'expected a distance and a cluster of every image, got '
            f'{tuple(distances.shape)} and {tuple(assignments.shape)}'
        )
    return distances / concentration[assignments].to(distances)


def _chunk(chunk_size: int | None, number: int) -> int:
    if chunk_size is None:
        return max(1, _CELLS // max(number, 1))
    return whole_number(chunk_size, 'chunk_size', least=1)


def _unit(rows: Tensor) -> Tensor:
    check_rows(rows)
    return F.normalize(rows.float(), dim=1)
