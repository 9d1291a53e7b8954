"""Clusters by their number of images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor


class SizeHistogram(NamedTuple):
    """Clusters by their number of images.

    Args:
        edges: Bounds of the bins, (bins + 1,); half numbers, so that every
            size is in one bin.
        clusters: Clusters in every bin, (bins,).
        smallest: Images of the smallest cluster.
        median: Median of the sizes.
        largest: Images of the largest cluster.
        empty: Clusters without images.
    """

    edges: np.ndarray
    clusters: np.ndarray
    smallest: int
    median: float
    largest: int
    empty: int


def size_histogram(
    sizes: Tensor, max_bins: int | None = None
) -> SizeHistogram:
    """Count clusters by their size.

    Args:
        sizes: Images of every cluster, (K,).
        max_bins: Most bins; all are equally wide. None for twice the root
            of K, 5 to 30.
    """
    values = np.asarray(sizes.cpu())
    if max_bins is None:
        max_bins = min(max(round(2 * len(values) ** 0.5), 5), 30)
    low, high = int(values.min()), int(values.max())
    step = -(-(high - low + 1) // max_bins)
    edges = np.arange(low, high + step + 1, step) - 0.5
    return SizeHistogram(
        edges=edges,
        clusters=np.histogram(values, edges)[0],
        smallest=low,
        median=float(np.median(values)),
        largest=high,
        empty=int((values == 0).sum()),
    )
