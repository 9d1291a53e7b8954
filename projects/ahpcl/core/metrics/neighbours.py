"""Images like an image, and images like none other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

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
    """The k rows of a bank that are nearest by cosine.

    Args:
        query: (M, D); normalised here.
        bank: (N, D), likewise.
        k: From 1; more than N are N.
        chunk_size: Queries at once; memory grows with `chunk_size * N`. None
            takes as many as 128 MiB of cosines have room for.

    Returns:
        Cosines, nearest first, (M, k), and indices into the bank, (M, k).

    Raises:
        ValueError: If shapes do not fit or a feature is not finite.
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
    """How far every image is from its k nearest others, in the mean.

    Euclidean on the unit sphere (Angiulli & Pizzuti, "Fast outlier detection
    in high dimensional spaces", PKDD 2002, who take the sum).

    Args:
        features: (N, D), N from 2; normalised here.
        k: Others; more than N - 1 are N - 1.
        chunk_size: Images at once, as in :func:`nearest_neighbours`.

    Returns:
        (N,), larger is odder.

    Raises:
        ValueError: If there are fewer than two images or a feature is not
            finite.
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
    """How far every image is from its prototype, in units of its phi.

    phi is the mean distance of the cluster's images, smoothed by their
    number and scaled (PCL, ICLR 2021, section 3.3): of equal distances that
    in the tighter cluster is the odder.

    Args:
        distances: Euclidean, to the own prototype, (N,).
        assignments: Cluster of every image, (N,).
        concentration: phi of every cluster, (K,) above 0.

    Returns:
        (N,), larger is odder.

    Raises:
        ValueError: If shapes do not fit.
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
    if rows.ndim != 2 or len(rows) == 0:
        raise ValueError(
            f'expected features of shape (N, D), got {tuple(rows.shape)}'
        )
    if not bool(torch.isfinite(rows).all()):
        raise ValueError(
            'expected finite features, got NaN or infinity; the encoder has '
            'diverged'
        )
    return F.normalize(rows.float(), dim=1)
