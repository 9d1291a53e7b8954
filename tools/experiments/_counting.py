"""Other ways to say how many kinds there are, and mixtures to try them on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ahpcl.core import KMeansSettings, spherical_kmeans
from ahpcl.core.metrics import silhouette

PLAIN = KMeansSettings(n_init=2)


class Mixture(NamedTuple):
    """Parameters of a made mixture on the sphere.

    Args:
        kinds: Number of kinds.
        noise: Standard deviation of every coordinate around a centre of
            length 1; at 64 dimensions 0.125 makes it as long as the centre.
        uneven: Whether the k-th kind has a share of 1 / k, not the same.
    """

    kinds: int
    noise: float
    uneven: bool = False


def draw(mixture: Mixture, number: int, width: int, seed: int) -> Tensor:
    """Draws unit rows (number, width) around random centres.

    Normal noise that is brought back to the sphere; with so many dimensions
    this is a von Mises-Fisher mixture but for its tails.
    """
    source = torch.Generator().manual_seed(seed)
    centres = torch.randn(mixture.kinds, width, generator=source)
    shares = torch.ones(mixture.kinds)
    if mixture.uneven:
        shares = 1 / torch.arange(1, mixture.kinds + 1)
    kinds = torch.multinomial(shares, number, True, generator=source)
    noise = torch.randn(number, width, generator=source)
    rows = F.normalize(centres, dim=1)[kinds] + mixture.noise * noise
    return F.normalize(rows, dim=1)


def by_silhouette(rows: Tensor, counts: Sequence[int]) -> int:
    """The count of the largest mean silhouette (scikit-learn's)."""
    scores = [
        silhouette(rows, spherical_kmeans(rows, k, PLAIN).assignments)
        for k in counts
    ]
    return counts[int(np.argmax(scores))]


def by_gap(
    rows: Tensor, counts: Sequence[int], references: int = 5, seed: int = 0
) -> int:
    """Tibshirani, Walther and Hastie (JRSS B 2001), their one-error rule.

    References are uniform in a box along the principal axes, and k-means is
    Euclidean, as published.

    Returns:
        The smallest count whose gap is at least that of the next one less
        its standard error; the last count if there is none.
    """
    settings = KMeansSettings(n_init=2, spherical=False)
    centred = (rows - rows.mean(0)).double()
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    inside = centred @ axes.T
    low, high = inside.min(0).values, inside.max(0).values
    source = torch.Generator().manual_seed(seed)
    boxes = [
        low
        + (high - low) * torch.rand(inside.shape, generator=source).double()
        for _ in range(references)
    ]
    gaps, errors = [], []
    for k in counts:
        own = _log_within(inside.float(), k, settings)
        expected = np.array(
            [_log_within(box.float(), k, settings) for box in boxes]
        )
        gaps.append(expected.mean() - own)
        errors.append(expected.std() * np.sqrt(1 + 1 / references))
    for place in range(len(counts) - 1):
        if gaps[place] >= gaps[place + 1] - errors[place + 1]:
            return counts[place]
    return counts[-1]


def _log_within(rows: Tensor, k: int, settings: KMeansSettings) -> float:
    return float(np.log(spherical_kmeans(rows, k, settings).objective))


def by_finch(rows: Tensor) -> list[int]:
    """Sarfraz, Sharma and Stiefelhagen (CVPR 2019): counts of the partitions.

    Every row is joined with its first neighbour, connected rows are a
    cluster, and the means of clusters are joined again until one is left.
    The method gives several counts, from fine to coarse, and chooses none.
    """
    counts = []
    means = rows
    labels = np.arange(len(rows))
    while True:
        cosines = F.normalize(means, dim=1) @ F.normalize(means, dim=1).T
        cosines.fill_diagonal_(-torch.inf)
        first = cosines.argmax(1).numpy()
        links = coo_matrix(
            (np.ones(len(first)), (np.arange(len(first)), first)),
            shape=(len(first), len(first)),
        )
        number, joined = connected_components(links, directed=False)
        if number == 1:
            return counts
        counts.append(int(number))
        labels = joined[labels]
        sums = torch.zeros(number, rows.shape[1])
        sums.index_add_(0, torch.from_numpy(labels).long(), rows)
        sizes = torch.from_numpy(np.bincount(labels, minlength=number))
        means = sums / sizes[:, None]
