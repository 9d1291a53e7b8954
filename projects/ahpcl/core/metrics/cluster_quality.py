"""Measures of a grouping of images, with and without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core.clustering.agreement import (
    cluster_sizes,
    clustering_agreement,
    hungarian_accuracy,
    observed_contingency,
    pair_precision,
    purity,
)
from ahpcl.core.validation import whole_number

__all__ = [
    'Confusion',
    'confusion',
    'grouping_report',
    'level_agreement',
    'silhouette',
]


class Confusion(NamedTuple):
    """Images by cluster and class, matched pairs first.

    Args:
        table: Images of the r-th cluster listed and the c-th class listed,
            (R, C) int64. Matched pairs are on the diagonal, those of most
            images first; what is left over follows.
        clusters: Which cluster a row is, (R,) int64.
        classes: Which class a column is, (C,) int64.
        matched: Pairs on the diagonal.
    """

    table: Tensor
    clusters: Tensor
    classes: Tensor
    matched: int


def silhouette(
    features: Tensor,
    assignments: Tensor,
    *,
    sample: int = 2000,
    seed: int = 0,
) -> float:
    """Return the mean silhouette coefficient of a sample, by cosine.

    It says how much nearer an image is to its own cluster than to the next
    one, -1 to 1 (Rousseeuw, Journal of Computational and Applied Mathematics
    1987). Clusters with a single image of the sample count 0.

    Args:
        features: Features, (N, D).
        assignments: Cluster of every image, (N,) integers.
        sample: Most images that are compared; time and memory grow with its
            square.
        seed: Seed of the sample.

    Returns:
        The mean; NaN if the sample has one cluster only, or no two images
        in one.

    Raises:
        ValueError: If the shapes do not fit.
        ImportError: If scikit-learn is not installed.

    Examples:
        >>> features = torch.eye(2).repeat_interleave(2, dim=0)
        >>> silhouette(features, torch.tensor([0, 0, 1, 1]))
        1.0
    """
    from sklearn.metrics import silhouette_score

    if features.ndim != 2 or assignments.shape != features.shape[:1]:
        raise ValueError(
            f'expected features (N, D) and one cluster for each, got '
            f'{tuple(features.shape)} and {tuple(assignments.shape)}'
        )
    sample = whole_number(sample, 'sample', least=2)
    features, assignments = features.cpu(), assignments.cpu()
    if len(features) > sample:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(features), generator=generator)[:sample]
        features, assignments = features[chosen], assignments[chosen]
    number = len(torch.unique(assignments))
    if number < 2 or number >= len(assignments):
        return float('nan')
    rows = F.normalize(features.double(), dim=1).numpy()
    return float(silhouette_score(rows, assignments.numpy(), metric='cosine'))


def grouping_report(
    features: Tensor,
    assignments: Tensor,
    labels: Tensor | None = None,
    *,
    num_clusters: int | None = None,
    sample: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Describe a grouping by itself, and beside labels where there are any.

    Args:
        features: Features by which images are near, (N, D).
        assignments: Cluster of every image, (N,) integers from 0.
        labels: Class of every image, (N,); -1 where it is unknown, which
            leaves the image out of the agreement. None without labels.
        num_clusters: Number of clusters K; None for the largest assignment
            + 1.
        sample: Most images that the silhouette compares.
        seed: Seed of that sample.

    Returns:
        ``nmi``, ``ami``, ``ari`` from 0 to 1, ``hungarian``, ``purity`` and
        ``pair_precision`` in percent, where labels are known;
        ``silhouette`` and the sizes ``size_min``, ``size_median``,
        ``size_max`` and ``empty`` always.

    Raises:
        ValueError: If there are no images, shapes do not fit or an
            assignment is out of range.

    Examples:
        >>> features = torch.eye(2).repeat_interleave(3, dim=0)
        >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
        >>> report = grouping_report(features, labels, labels)
        >>> report['purity'], report['size_max']
        (100.0, 3)
    """
    if len(assignments) == 0:
        raise ValueError('expected at least one image, got none')
    report: dict[str, float] = {}
    if labels is not None:
        if labels.shape != assignments.shape:
            raise ValueError(
                f'expected one label for each of {len(assignments)} images, '
                f'got {tuple(labels.shape)}'
            )
        known = (labels >= 0).cpu()
        if bool(known.any()):
            own, truth = assignments.cpu()[known], labels.cpu()[known]
            report.update(clustering_agreement(truth, own)._asdict())
            report['hungarian'] = hungarian_accuracy(own, truth)
            report['purity'] = purity(own, truth)
            report['pair_precision'] = pair_precision(own, truth)
    report['silhouette'] = silhouette(
        features, assignments, sample=sample, seed=seed
    )
    count = (
        int(assignments.max()) + 1 if num_clusters is None else num_clusters
    )
    sizes = cluster_sizes(assignments, count)
    report['size_min'] = sizes.minimum
    report['size_median'] = sizes.median
    report['size_max'] = sizes.maximum
    report['empty'] = sizes.empty
    return report


def level_agreement(groupings: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Compare every pair of levels of a hierarchy.

    Args:
        groupings: Cluster of every image, (N,), finest level first.

    Returns:
        A row for every pair: ``fine`` and ``coarse`` (places in the list),
        ``nmi``, ``ami``, ``ari``, and ``nested``: the share of images, in
        percent, whose coarse cluster is the one that most images of their
        fine cluster are in; 100 for nested levels.

    Raises:
        ValueError: If the groupings are not of the same images.

    Examples:
        >>> fine = torch.tensor([0, 1, 2, 3])
        >>> coarse = torch.tensor([0, 0, 1, 1])
        >>> level_agreement([fine, coarse])[0]['nested']
        100.0
    """
    rows = []
    for fine in range(len(groupings)):
        for coarse in range(fine + 1, len(groupings)):
            first, second = groupings[fine], groupings[coarse]
            row: dict[str, Any] = dict(fine=fine, coarse=coarse)
            row.update(clustering_agreement(first, second)._asdict())
            row['nested'] = purity(first, second)
            rows.append(row)
    return rows


def confusion(assignments: Tensor, labels: Tensor) -> Confusion:
    """Count images by cluster and class, with the best match in order.

    Clusters and classes are matched one to one so that most images agree
    (Kuhn, Naval Research Logistics Quarterly 1955).

    Args:
        assignments: Cluster of every image, (N,) integers.
        labels: Class of every image, (N,) integers.

    Raises:
        ValueError: If the shapes do not fit or N is 0.
        ImportError: If SciPy is not installed.

    Examples:
        >>> clusters = torch.tensor([0, 0, 1, 1])
        >>> labels = torch.tensor([1, 1, 0, 1])
        >>> confusion(clusters, labels).table
        tensor([[2, 0],
                [1, 1]])
    """
    from scipy import optimize

    table, clusters, classes = observed_contingency(assignments, labels)
    found: Any = optimize.linear_sum_assignment(table.numpy(), maximize=True)
    rows, columns = (torch.as_tensor(part) for part in found)
    first = table[rows, columns].argsort(descending=True, stable=True)
    rows, columns = rows[first], columns[first]
    row_order = torch.cat([rows, _others(rows, len(clusters))])
    column_order = torch.cat([columns, _others(columns, len(classes))])
    return Confusion(
        table=table[row_order][:, column_order],
        clusters=clusters[row_order],
        classes=classes[column_order],
        matched=len(rows),
    )


def _others(chosen: Tensor, number: int) -> Tensor:
    """Return the places below a number that were not chosen, ascending."""
    left = torch.ones(number, dtype=torch.bool)
    left[chosen] = False
    return left.nonzero().squeeze(1)
