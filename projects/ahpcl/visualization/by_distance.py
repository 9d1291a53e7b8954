"""The images of every cluster, the nearest to its prototype first."""

from __future__ import annotations

import torch
from torch import Tensor


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
