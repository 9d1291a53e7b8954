"""What is computed of rows: lengths, sums, distances, identity."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    'distances_to',
    'distinct_ids',
    'rank_in_segment',
    'row_hashes',
    'segment_sum',
    'unit_rows',
]


def _blocks(rows: Tensor) -> list[slice]:
    """Parts to compute one after the other.

    On a CPU so few rows that what is computed of them stays in the cache of
    a core; elsewhere more, as every operation is sent to the device.
    """
    size = 4096 if rows.device.type == 'cpu' else 65536
    return [slice(start, start + size) for start in range(0, len(rows), size)]


def unit_rows(rows: Tensor, fallback: Tensor | None = None) -> Tensor:
    """Scale rows to length 1; those of length 0 are replaced.

    Args:
        rows: (K, D) float32.
        fallback: Unit rows to take where a row has no direction, (K, D);
            None for the first axis.

    Returns:
        (K, D) float32.

    Examples:
        >>> unit_rows(torch.tensor([[0.0, 2.0], [0.0, 0.0]]))
        tensor([[0., 1.],
                [1., 0.]])
    """
    norm = rows.norm(dim=1, keepdim=True)
    if fallback is None:
        fallback = torch.zeros_like(rows[:1])
        fallback[0, 0] = 1
    # Divided twice: one division of tiny rows is not exact enough.
    unit = rows / torch.where(norm > 0, norm, 1.0)
    unit = unit / unit.norm(dim=1, keepdim=True).clamp(min=0.5)
    return torch.where(norm > 0, unit, fallback)


def segment_sum(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Sum the values of every segment; the result is deterministic.

    Vectors are summed in float64; matrices in chunks of float32 whose sums
    are added up in float64, which is quicker and loses no more than about
    1e-5 of the largest sum.

    Args:
        values: (N,) or (N, D) floating point.
        index: Segment of every value, (N,) int64 in [0, S).
        num_segments: S.

    Returns:
        (S,) or (S, D) float64.

    Examples:
        >>> values, index = torch.tensor([1.0, 2, 3]), torch.tensor([0, 2, 2])
        >>> segment_sum(values, index, 3).tolist()
        [1.0, 0.0, 5.0]
    """
    shape = (num_segments, *values.shape[1:])
    total = torch.zeros(shape, dtype=torch.float64, device=values.device)
    rows = max(4096, num_segments)
    for start in range(0, len(values), rows):
        part = values[start : start + rows]
        where = index[start : start + rows]
        if part.ndim == 1:
            part = part.double()
        partial = torch.zeros(shape, dtype=part.dtype, device=part.device)
        if part.device.type == 'cpu':
            partial.index_add_(0, where, part)
        else:  # atomic additions would depend on their order
            partial.index_put_((where,), part, accumulate=True)
        total += partial
    return total


def rank_in_segment(segment: Tensor, num_segments: int) -> Tensor:
    """Count how many elements of its own segment precede every element.

    Args:
        segment: Segment of every element, (N,) int64 in [0, S).
        num_segments: S.

    Returns:
        0 for the first of its segment, 1 for the second ..., (N,) int64.

    Examples:
        >>> rank_in_segment(torch.tensor([1, 0, 1, 1]), 2).tolist()
        [0, 0, 1, 2]
    """
    order = torch.argsort(segment, stable=True)
    counts = torch.bincount(segment, minlength=num_segments)
    first = counts.cumsum(0) - counts
    position = torch.arange(len(segment), device=segment.device)
    rank = torch.empty_like(position)
    rank[order] = position - first[segment[order]]
    return rank


def distances_to(
    features: Tensor, centroids: Tensor, assignments: Tensor
) -> Tensor:
    """Measure the Euclidean distance of every point to its own centroid.

    Computed from the differences, so that equal rows have distance 0.

    Args:
        features: (N, D) float32.
        centroids: (K, D) float32.
        assignments: (N,) int64.

    Returns:
        (N,) float32.

    Examples:
        >>> points, first = torch.eye(2), torch.zeros(2, dtype=torch.long)
        >>> distances_to(points, points[:1], first)
        tensor([0.0000, 1.4142])
    """
    result = features.new_empty(len(features))
    for part in _blocks(features):
        difference = features[part] - centroids[assignments[part]]
        result[part] = difference.norm(dim=1)
    return result


def row_hashes(features: Tensor, *, by_direction: bool = False) -> Tensor:
    """Hash the float32 bits of every row to 64 bits.

    Two distinct rows of a million share a hash with a probability under
    1e-7. 0.0 and -0.0 are one value.

    Args:
        features: (N, D) float32.
        by_direction: Whether rows that differ in length alone count as one.

    Returns:
        Equal for equal rows, (N,) int64.

    Examples:
        >>> one, other = row_hashes(torch.tensor([[0.0, 1.0], [-0.0, 1.0]]))
        >>> bool(one == other)
        True
    """
    generator = torch.Generator().manual_seed(0x5EED)
    bound = 2**62
    odd = torch.randint(
        -bound, bound, (2, features.shape[1]), generator=generator
    ).to(features.device)
    hashes = torch.empty_like(features[:, 0], dtype=torch.long)
    for rows in _blocks(features):
        part = features[rows]
        part = (unit_rows(part) if by_direction else part) + 0.0
        bits = part.contiguous().view(torch.int32).to(torch.long)
        # Mixed before it is summed: bit patterns of simple numbers end in
        # many zeros, which a product alone would keep.
        bits = (bits + odd[0]) * (bits * 2 + odd[1] * 2 + 1)
        bits = bits ^ (bits >> 29)
        hashes[rows] = (bits * (odd[1] * 2 + 1)).sum(dim=1)
    return hashes


def distinct_ids(features: Tensor) -> Tensor:
    """Number the distinct rows; far quicker than sorting them.

    Args:
        features: (N, D) float32.

    Returns:
        Equal for equal rows, 0 ... U - 1 for U distinct rows, (N,) int64.

    Examples:
        >>> ids = distinct_ids(torch.tensor([[0.0, 1], [1, 0], [0, 1]]))
        >>> int(ids.max()) + 1
        2
    """
    ids: Tensor = torch.unique(row_hashes(features), return_inverse=True)[1]
    return ids
