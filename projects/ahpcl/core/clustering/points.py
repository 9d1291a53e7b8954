"""Rows of unit length, and which rows are the same point."""

from __future__ import annotations

import torch
from torch import Tensor

from ahpcl.core.clustering.shards import ALONE, Shards

__all__ = ['distinct_ids', 'identify', 'unit_rows']

_ROWS = 65536


def unit_rows(rows: Tensor, fallback: Tensor | None = None) -> Tensor:
    """Rows of length 1; those of length 0 are replaced.

    Args:
        rows: (K, D) float32.
        fallback: Unit rows to take where a row has no direction, (K, D);
            None for the first axis.

    Returns:
        (K, D) float32.
    """
    norm = rows.norm(dim=1, keepdim=True)
    if fallback is None:
        fallback = torch.zeros_like(rows[:1])
        fallback[0, 0] = 1
    # Divided twice: one division of tiny rows is not exact enough.
    unit = rows / torch.where(norm > 0, norm, 1.0)
    unit = unit / unit.norm(dim=1, keepdim=True).clamp(min=0.5)
    return torch.where(norm > 0, unit, fallback)


def distinct_ids(
    features: Tensor, shards: Shards = ALONE, *, by_direction: bool = False
) -> Tensor:
    """A number for every distinct row.

    Rows are compared by a 64-bit hash of their float32 bits (0.0 and -0.0
    are one value), which is far quicker than sorting rows; two distinct rows
    of a million share a hash with a probability under 1e-7.

    Args:
        features: The own rows, (n, D) float32.
        shards: Where the other rows are.
        by_direction: Whether rows are one that differ in length alone.

    Returns:
        Equal for equal rows, 0 ... U - 1 for U distinct rows, of all rows,
        (N,) int64.
    """
    generator = torch.Generator().manual_seed(0x5EED)
    bound = 2**62
    odd = torch.randint(
        -bound, bound, (2, features.shape[1]), generator=generator
    ).to(features.device)
    hashes = [torch.zeros_like(features[:0, 0], dtype=torch.long)]
    for start in range(0, len(features), _ROWS):
        part = features[start : start + _ROWS]
        part = (unit_rows(part) if by_direction else part) + 0.0
        bits = part.contiguous().view(torch.int32).to(torch.long)
        # Mixed before it is summed: bit patterns of simple numbers end in
        # many zeros, which a product alone would keep.
        bits = (bits + odd[0]) * (bits * 2 + odd[1] * 2 + 1)
        bits = bits ^ (bits >> 29)
        hashes.append((bits * (odd[1] * 2 + 1)).sum(dim=1))
    everywhere = shards.all_gather(torch.cat(hashes))
    _, ids = torch.unique(everywhere, return_inverse=True)
    found: Tensor = ids
    return found


def identify(
    features: Tensor, spherical: bool, shards: Shards = ALONE
) -> tuple[Tensor, Tensor]:
    """Which points are one point, and which can fill a cluster.

    Args:
        features: The own points, (n, D) float32.
        spherical: Whether points are told apart by direction, and those
            without one fill no cluster.
        shards: Where the other points are.

    Returns:
        Of all points: a number for every distinct one, (N,) int64, and
        (N,) bool.
    """
    if not spherical:
        ids = distinct_ids(features, shards)
        return ids, torch.ones_like(ids, dtype=torch.bool)
    ids = distinct_ids(features, shards, by_direction=True)
    return ids, shards.all_gather(features.norm(dim=1) > 0)
