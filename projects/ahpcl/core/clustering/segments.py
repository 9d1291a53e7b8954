"""Sums, distances and searches over groups of points, without a loop.

A `Groups` says which of its own clusters a point may choose: all clusters
where there is one group (plain k-means), the children of its parent where a
coarser clustering is refined.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ahpcl.core.clustering.search_engines import rows_per_chunk
from ahpcl.core.contrast.batches import full_precision

__all__ = [
    'Groups',
    'distances_to',
    'nearest_in_group',
    'nearest_with_score',
    'rank_in_segment',
    'segment_sum',
]

_ROWS = 65536


@dataclass(frozen=True, eq=False)
class Groups:
    """Points in G groups, each with clusters of its own.

    Clusters are numbered group by group: those of group g are
    `starts[g] ... starts[g] + counts[g] - 1`.

    Attributes:
        of_point: Group of every point, ascending, (N,) int64.
        counts: Clusters of every group, (G,) int64; at least 1 where the
            group has points.
    """

    of_point: Tensor
    counts: Tensor

    def __post_init__(self) -> None:
        assert bool((self.of_point.diff() >= 0).all())
        assert bool((self.counts[self.of_point] >= 1).all())

    @classmethod
    def single(
        cls, num_points: int, num_clusters: int, device: torch.device
    ) -> Groups:
        """One group of all points and all clusters."""
        return cls(
            torch.zeros(num_points, dtype=torch.long, device=device),
            torch.tensor([num_clusters], device=device),
        )

    @property
    def num_groups(self) -> int:
        """G."""
        return len(self.counts)

    @property
    def num_clusters(self) -> int:
        """K, over all groups."""
        return int(self.counts.sum())

    @property
    def starts(self) -> Tensor:
        """First cluster of every group, (G,)."""
        return self.counts.cumsum(0) - self.counts

    @property
    def of_cluster(self) -> Tensor:
        """Group of every cluster, ascending, (K,)."""
        return torch.repeat_interleave(
            torch.arange(self.num_groups, device=self.counts.device),
            self.counts,
        )


def segment_sum(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Sum of the values of every segment, deterministic.

    Vectors are summed in float64; matrices in chunks of float32 whose sums
    are added up in float64, which is quicker and loses no more than about
    1e-5 of the largest sum.

    Args:
        values: (N,) or (N, D) floating point.
        index: Segment of every value, (N,) int64 in [0, S).
        num_segments: S.

    Returns:
        (S,) or (S, D) float64.
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
    """Position of every element among those of its segment, in order.

    Args:
        segment: Segment of every element, (N,) int64 in [0, S).
        num_segments: S.

    Returns:
        0 for the first of its segment, 1 for the second ..., (N,) int64.
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
    """Euclidean distance of every point to its own centroid.

    Computed from the differences, so that equal rows have distance 0.

    Args:
        features: (N, D) float32.
        centroids: (K, D) float32.
        assignments: (N,) int64.

    Returns:
        (N,) float32.
    """
    result = features.new_empty(len(features))
    for start in range(0, len(features), _ROWS):
        part = slice(start, start + _ROWS)
        difference = features[part] - centroids[assignments[part]]
        result[part] = difference.norm(dim=1)
    return result


def nearest_in_group(
    features: Tensor,
    centroids: Tensor,
    of_point: Tensor,
    starts: Tensor,
    counts: Tensor,
) -> Tensor:
    """Nearest centroid among those of a point's own group.

    See `nearest_with_score`, of which this is the first half.
    """
    return nearest_with_score(features, centroids, of_point, starts, counts)[0]


def nearest_with_score(
    features: Tensor,
    centroids: Tensor,
    of_point: Tensor,
    starts: Tensor,
    counts: Tensor,
) -> tuple[Tensor, Tensor]:
    """Nearest centroid among those of a point's own group, and how near.

    As points are sorted by group, a chunk of them needs a contiguous range
    of centroids only; what a point may not choose is masked.

    Args:
        features: (N, D) float32.
        centroids: (K, D) float32, group by group.
        of_point: Group of every point, ascending, (N,).
        starts: First centroid of every group, (G,).
        counts: Centroids of every group, (G,).

    Returns:
        Indices in [0, K), (N,) int64, -1 where the group has no centroid;
        and `x.c - |c|^2 / 2`, (N,) float32, -infinity there.
    """
    num_points, device = len(features), features.device
    result = torch.full((num_points,), -1, dtype=torch.long, device=device)
    score = torch.full((num_points,), -torch.inf, device=device)
    rows = min(2048, rows_per_chunk(len(centroids), device))
    bias = centroids.square().sum(dim=1).mul_(-0.5)
    low, high = starts[of_point], (starts + counts)[of_point]
    edges = torch.arange(0, num_points, rows, device=device)
    last = (edges + rows - 1).clamp(max=num_points - 1)
    bounds = torch.stack([edges, low[edges], high[last]], dim=1).tolist()
    with full_precision(device), torch.no_grad():
        for start, first, stop in bounds:
            if first == stop:
                continue
            part = slice(start, start + rows)
            scores = torch.addmm(
                bias[first:stop], features[part], centroids[first:stop].t()
            )
            if len(counts) > 1:
                column = torch.arange(first, stop, device=device)
                scores.masked_fill_(column < low[part, None], -torch.inf)
                scores.masked_fill_(column >= high[part, None], -torch.inf)
            best, found = scores.max(dim=1)
            found += first
            result[part] = torch.where(low[part] < high[part], found, -1)
            score[part] = best
    return result, score
