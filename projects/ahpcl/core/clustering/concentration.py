"""Concentration of clusters (PCL, Li et al., ICLR 2021, section 3.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ahpcl.core.clustering.rows import segment_sum

__all__ = ['concentration']

FLOOR = 1e-3


def concentration(
    distances: Tensor,
    assignments: Tensor,
    num_clusters: int,
    *,
    temperature: float = 0.2,
    alpha: float = 10.0,
    clip: tuple[float, float] = (10, 90),
) -> Tensor:
    """The temperature phi of every cluster.

    phi = mean_i |v_i - c| / log(n + alpha) over the n points of a cluster
    (PCL, eq. 12). Then, over all K clusters: a cluster of one point, whose
    distance says nothing, and a cluster of none take the largest phi; clip
    to the percentiles; scale so that the mean is the temperature; floor at
    1e-3 of the temperature. Where everything is 0 after clipping (all
    distances 0, no cluster of two points, or so few clusters with an extent
    that the percentiles cut them off), phi is the temperature.

    Args:
        distances: Euclidean distance of every point to its centroid, >= 0,
            (N,).
        assignments: Cluster of every point, (N,) int64 in [0, K).
        num_clusters: K.
        temperature: Mean of the result (tau), above 0.
        alpha: Smoothing of small clusters, above 0.
        clip: Lower and upper percentile, 0 to 100.

    Returns:
        phi > 0, (K,) float32, on the device of the distances.

    Raises:
        ValueError: If a shape, type or range does not fit.

    Examples:
        >>> distances = torch.tensor([0.1, 0.1, 0.3, 0.3])
        >>> where = torch.tensor([0, 0, 1, 1])
        >>> concentration(distances, where, 2, clip=(0, 100))
        tensor([0.1000, 0.3000])
    """
    _check(distances, assignments, num_clusters, temperature, alpha, clip)
    counts = torch.bincount(assignments, minlength=num_clusters)
    total = segment_sum(distances.detach(), assignments, num_clusters)
    size = counts.to(total.dtype)
    phi = total / size.clamp(min=1) / torch.log(size + alpha)
    known = counts > 1
    largest = torch.where(known, phi, 0.0).max()
    phi = torch.where(known, phi, largest)
    percentiles = torch.tensor(clip, dtype=phi.dtype, device=phi.device) / 100
    low, high = torch.quantile(phi, percentiles).unbind()
    phi = phi.clamp(min=low, max=high)
    mean = phi.mean()
    phi = torch.where(
        mean > 0,
        phi / mean,
        torch.ones((), dtype=phi.dtype, device=phi.device),
    )
    return (temperature * phi.clamp(min=FLOOR)).float()


def _check(
    distances: Tensor,
    assignments: Tensor,
    num_clusters: int,
    temperature: float,
    alpha: float,
    clip: tuple[float, float],
) -> None:
    if num_clusters < 1:
        raise ValueError(f'expected num_clusters >= 1, got {num_clusters}')
    if distances.ndim != 1 or distances.shape != assignments.shape:
        raise ValueError(
            f'expected distances and assignments of one shape (N,), got '
            f'{tuple(distances.shape)} and {tuple(assignments.shape)}'
        )
    if len(distances) == 0 or assignments.dtype != torch.long:
        raise ValueError(
            f'expected at least one point and int64 assignments, got '
            f'{len(distances)} and {assignments.dtype}'
        )
    low, high = (int(v) for v in torch.aminmax(assignments))
    if low < 0 or high >= num_clusters:
        raise ValueError(
            f'expected assignments from 0 to {num_clusters - 1}, got '
            f'{low} to {high}'
        )
    if not bool((torch.isfinite(distances) & (distances >= 0)).all()):
        raise ValueError(
            'expected finite Euclidean distances >= 0, got a negative or '
            'non-finite one'
        )
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f'expected temperature > 0, got {temperature}')
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(f'expected alpha > 0, got {alpha}')
    if len(clip) != 2 or not 0 <= clip[0] <= clip[1] <= 100:
        raise ValueError(
            f'expected clip as two percentiles, 0 <= low <= high <= 100, '
            f'got {clip}'
        )
