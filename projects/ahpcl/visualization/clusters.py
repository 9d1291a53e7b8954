"""What figures say of clusters: their nearest images, classes and sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ahpcl.core.clustering.agreement import contingency

ClassName = Callable[[int], str]


def by_distance(
    distances: Tensor, assignments: Tensor, clusters: int
) -> list[list[int]]:
    """Return images of every cluster, the nearest to its prototype first.

    Args:
        distances: Distance of every image to its prototype, (N,).
        assignments: Cluster of every image, (N,).
        clusters: K.

    Returns:
        K lists of indices; of equal distances the lower index is first.
    """
    order = torch.argsort(distances, stable=True)
    order = order[torch.argsort(assignments[order], stable=True)]
    sizes = torch.bincount(assignments, minlength=clusters)
    return [own.tolist() for own in order.split(sizes.tolist())]


def class_table(assignments: Tensor, labels: Tensor, clusters: int) -> Tensor:
    """Return images of every cluster and class, (K, C) int64.

    Args:
        assignments: Cluster of every image, (N,).
        labels: Class of every image, (N,); negative ones are not counted.
        clusters: K.

    Raises:
        ValueError: If no image has a label, or the images are not the same.
    """
    if len(assignments) != len(labels):
        raise ValueError(
            f'expected labels of {len(assignments)} images, got {len(labels)}'
        )
    if not bool((labels >= 0).any()):
        raise ValueError('expected labels of some images, got none')
    classes = int(labels.max()) + 1
    return contingency(assignments, labels, clusters, classes)


def majority_text(row: Tensor, class_name: ClassName = str) -> str:
    """Describe as '98 % are 7'; empty where no image has a label.

    Args:
        row: Images of a cluster by class, (C,).
        class_name: Name of a class.
    """
    total = int(row.sum())
    if total == 0:
        return ''
    best = int(row.argmax())
    return f'{100 * int(row[best]) / total:.0f} % are {class_name(best)}'


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
