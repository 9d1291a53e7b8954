"""What could say without labels how right the cluster of an image is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from _ledger import LEDGER
from _structure import other_neighbours
from _tables import markdown
from torch import Tensor

from ahpcl.core import (
    KMeansSettings,
    spherical_kmeans,
)
from ahpcl.core.clustering.agreement import adjusted_mutual_information
from ahpcl.visualization.clusters import class_table

RESULTS = LEDGER.parent / 'trust_signals.json'
NEIGHBOURS = 20
#: Share of the images that the most trusted are.
MOST = 0.35
SIGNALS = {
    'chance': 'none: all images alike',
    'nearness': 'nearness to the own centroid',
    'margin': 'margin to the next centroid',
    'neighbours': f'share of the {NEIGHBOURS} nearest in the own cluster',
    'density': f'cosine to the {NEIGHBOURS} nearest',
    'restarts': 'cluster mates together in two other starts',
    'tightness': "tightness of the image's cluster",
    'truth_of_clusters': 'labels: the most frequent share of the cluster',
    'truth_of_images': 'labels: the true share of the own class',
}


def true_shares(clusters: Tensor, labels: Tensor) -> Tensor:
    """Of the images of its cluster, the share of every image's own class.

    Args:
        clusters: Cluster (N,) of every image.
        labels: Class (N,) of every image.

    Returns:
        (N,) from 0 to 1, the image itself counted.
    """
    counts = class_table(clusters, labels, int(clusters.max()) + 1).double()
    sizes = counts.sum(1, keepdim=True).clamp(min=1)
    return (counts / sizes)[clusters, labels]


def signals(
    points: Tensor, clusters: int, labels: Tensor, near: Tensor
) -> tuple[Tensor, dict[str, Tensor], float]:
    """One k-means, and every signal for every image.

    Args:
        points: Unit rows (N, D).
        clusters: K.
        labels: Class (N,) of every image; only the two signals that are
            bounds look at them.
        near: Indices (N, k) of the nearest other rows.

    Returns:
        The true shares (N,); per name of `SIGNALS` values (N,), the higher
        the more trusted; the mean adjusted mutual information of the three
        starts of k-means.
    """
    own, *others = (
        spherical_kmeans(points, clusters, KMeansSettings(n_init=1), seed=seed)
        for seed in range(3)
    )
    where = own.assignments
    cosines = points @ own.centroids.T
    nearest = cosines.gather(1, where[:, None])[:, 0]
    second = cosines.scatter(1, where[:, None], -2.0).amax(1)
    counts = class_table(where, labels, clusters).double()
    sizes = counts.sum(1).clamp(min=1)
    share = true_shares(where, labels)
    tightness = torch.zeros(clusters, dtype=torch.double)
    tightness.index_add_(0, where, nearest.double())
    found = {
        'chance': torch.ones(len(points)),
        'nearness': nearest,
        'margin': nearest - second,
        'neighbours': (where[near] == where[:, None]).float().mean(1),
        'density': (points[:, None] * points[near]).sum(2).mean(1),
        'restarts': sum(
            true_shares(where, each.assignments) for each in others
        ),
        'tightness': (tightness / sizes)[where],
        'truth_of_clusters': (counts.amax(1) / sizes)[where],
        'truth_of_images': share,
    }
    starts = [each.assignments for each in (own, *others)]
    agreement = [
        adjusted_mutual_information(a, b) for a, b in combinations(starts, 2)
    ]
    return share, found, sum(agreement) / len(agreement)


def judged(values: Tensor, share: Tensor) -> dict[str, float]:
    """How well a signal tells right images.

    Args:
        values: The signal (N,).
        share: The true shares (N,).

    Returns:
        ``correlation``: Spearman's with the true shares, 0 where all values
        or all shares are equal. ``right``: the mean of the true shares among
        the most trusted, percent; among all where all values are equal.
    """
    ranks, truth = _ranks(values), _ranks(share)
    correlation, top = 0.0, torch.arange(len(values))
    if float(ranks.std()) > 0:
        top = values.argsort(descending=True, stable=True)
        top = top[: max(round(MOST * len(values)), 1)]
        if float(truth.std()) > 0:
            both = torch.stack([ranks, truth])
            correlation = float(torch.corrcoef(both)[0, 1])
    return dict(
        correlation=round(correlation, 3),
        right=round(100 * float(share[top].mean()), 2),
    )


def compare(
    points: Tensor, labels: Tensor, counts: Sequence[int]
) -> list[dict[str, Any]]:
    """All signals at every number of clusters: one dict each."""
    near = other_neighbours(points, NEIGHBOURS)
    found = []
    for clusters in counts:
        share, values, agreement = signals(points, clusters, labels, near)
        found += [
            dict(clusters=clusters, signal=name, **judged(own, share))
            for name, own in values.items()
        ]
        found.append(
            dict(
                clusters=clusters,
                signal='agreement',
                agreement=round(agreement, 3),
            )
        )
    return found


def read_results(path: Path = RESULTS) -> list[dict[str, Any]]:
    """What was measured before, one dict per set."""
    return json.loads(path.read_text('utf-8')) if path.is_file() else []


def table(sets: Sequence[Mapping[str, Any]]) -> str:
    """What `trust_signals.py` measured, as one table per set."""
    parts = []
    for each in sets:
        counts = list(dict.fromkeys(row['clusters'] for row in each['rows']))
        columns = dict(signal=('signal', '')) | {
            str(k): (f'K = {k}', '') for k in counts
        }
        cells = {(row['signal'], row['clusters']): row for row in each['rows']}
        lines = [
            dict(signal=text)
            | {
                str(k): '{right:.1f} ({correlation:.2f})'.format(
                    **cells[name, k]
                )
                for k in counts
            }
            for name, text in SIGNALS.items()
        ]
        agreed = {k: cells['agreement', k]['agreement'] for k in counts}
        lines.append(
            dict(signal='agreement of the starts (adjusted)')
            | {str(k): f'{value:.2f}' for k, value in agreed.items()}
        )
        parts.append(f'{each["set"]}:\n\n{markdown(lines, columns)}')
    return '\n\n'.join(parts) + '\n'


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[inverse]
