"""Measures of features and clusters: the public door to all of them."""

from __future__ import annotations

from torch import Tensor

from ahpcl.core.agreement import (
    ClassShares,
    ClusteringAgreement,
    ClusterSizes,
    class_shares,
    cluster_sizes,
    clustering_agreement,
    hungarian_accuracy,
    pair_precision,
    purity,
)
from ahpcl.core.cluster_quality import (
    Confusion,
    confusion,
    grouping_report,
    level_agreement,
    silhouette,
)
from ahpcl.core.episodes import (
    EpisodeResult,
    few_shot_episodes,
    sample_episodes,
)
from ahpcl.core.feature_health import (
    alignment,
    collapse_alarms,
    feature_health,
    rankme,
    spread,
    uniformity,
)
from ahpcl.core.knn import knn_accuracy, knn_classify, knn_predictions
from ahpcl.core.linear_probe import (
    ProbeResult,
    logistic_probe,
    probe_with_choice,
    sgd_probe,
)
from ahpcl.core.low_shot import (
    LowShotResult,
    average_precision,
    low_shot_svm,
)
from ahpcl.core.neighbours import (
    nearest_neighbours,
    neighbour_outliers,
    prototype_outliers,
)
from ahpcl.core.validation import whole_number

__all__ = [
    'ClassShares',
    'ClusterSizes',
    'ClusteringAgreement',
    'Confusion',
    'EpisodeResult',
    'LowShotResult',
    'ProbeResult',
    'alignment',
    'average_precision',
    'class_shares',
    'cluster_sizes',
    'clustering_agreement',
    'collapse_alarms',
    'confusion',
    'feature_health',
    'few_shot_episodes',
    'grouping_report',
    'hungarian_accuracy',
    'knn_accuracy',
    'knn_classify',
    'knn_predictions',
    'level_agreement',
    'logistic_probe',
    'low_shot_svm',
    'nearest_neighbours',
    'neighbour_outliers',
    'pair_precision',
    'probe_with_choice',
    'prototype_outliers',
    'purity',
    'rankme',
    'sample_episodes',
    'sgd_probe',
    'silhouette',
    'spread',
    'topk_accuracy',
    'uniformity',
]


def topk_accuracy(scores: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """Share of rows whose label is among the k largest scores.

    Ties are not counted optimistically: an equal score of another class
    stands before the label's, and so does NaN.

    Args:
        scores: (B, C).
        labels: Classes, (B,) integers from 0 to C - 1.
        k: From 1; from C on every row is right.

    Returns:
        Percent, 0-dim float32 on the scores' device, detached.

    Raises:
        ValueError: If shapes do not fit, B is 0, or a label or k is out of
            range.
    """
    k = whole_number(k, 'k', least=1)
    if scores.ndim != 2 or len(scores) == 0:
        raise ValueError(
            f'expected scores of shape (B, C), got {tuple(scores.shape)}'
        )
    if labels.shape != scores.shape[:1]:
        raise ValueError(
            f'expected one label for each of {len(scores)} rows, got '
            f'{tuple(labels.shape)}'
        )
    classes = scores.shape[1]
    if bool(((labels < 0) | (labels >= classes)).any()):
        raise ValueError(
            f'expected labels from 0 to {classes - 1}, got '
            f'{int(labels.min())} to {int(labels.max())}'
        )
    values = scores.detach()
    own = values.gather(1, labels[:, None].long().to(values.device))
    not_behind = (~(values < own)).sum(dim=1)  # the label itself included
    return 100.0 * (not_behind <= k).float().mean()
