"""What the labels say of the training images' own structure."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core import KMeansSettings, spherical_kmeans
from ahpcl.core.metrics import class_shares, nearest_neighbours
from ahpcl.evaluation.run_data import RunData

#: Clusters per class of the k-means.
PER_CLASS = (1, 10, 40)
NEIGHBOURS = (1, 20)


def structure(run: RunData) -> dict[str, Any]:
    """How far clusters and neighbours of a run are of one class.

    By the keys, in which the E-step clusters, where the method has them, else
    by the pooled features.

    Returns:
        ``levels``: the checkpoint's own prototypes, ``kmeans``: a fresh
        k-means at 1, 10 and 40 clusters per class, finest last; each a list
        with ``clusters`` and the fields of `class_shares`.
        ``neighbours``: percent of the 1 and 20 nearest neighbours that are of
        one class.
    """
    labels = run.training.labels
    keys = run.training.keys
    points = F.normalize(
        run.training.features if keys is None else keys, dim=1
    )
    classes = len(labels.unique())
    counts = [
        each * classes for each in PER_CLASS if each * classes < len(labels)
    ]
    levels = run.hierarchy.levels if run.own_prototypes else ()
    return dict(
        levels=[_shares(level.assignments, labels) for level in levels],
        kmeans=[
            _shares(
                spherical_kmeans(
                    points, count, KMeansSettings(n_init=1)
                ).assignments,
                labels,
            )
            for count in counts
        ],
        neighbours=_neighbours(points, labels),
    )


def _shares(clusters: Tensor, labels: Tensor) -> dict[str, Any]:
    found = class_shares(clusters, labels)._asdict()
    return {
        'clusters': int(clusters.max()) + 1,
        **{
            name: [round(float(v), 2) for v in value]
            if isinstance(value, Tensor)
            else round(float(value), 3)
            for name, value in found.items()
        },
    }


def other_neighbours(points: Tensor, number: int) -> Tensor:
    """Indices (N, number) of the nearest rows but for a row itself."""
    _, near = nearest_neighbours(points, points, number + 1)
    own = torch.arange(len(points), device=near.device)[:, None]
    # Oneself is left out, or the last where equal points stand before.
    other = near != own
    other[:, -1] &= ~other.all(1)
    return near[other].view(len(points), number)


def _neighbours(points: Tensor, labels: Tensor) -> dict[str, float]:
    """Percent of the nearest neighbours that are of the image's class."""
    near = other_neighbours(points, max(NEIGHBOURS))
    same = (labels[near] == labels[:, None]).float()
    return {
        str(k): round(100 * float(same[:, :k].mean()), 3) for k in NEIGHBOURS
    }
