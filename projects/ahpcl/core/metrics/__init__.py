"""Measures of features and clusters; import them from here."""

from __future__ import annotations

from ahpcl.core.clustering.agreement import (
    ClusteringAgreement,
    ClusterSizes,
    cluster_sizes,
    clustering_agreement,
    hungarian_accuracy,
    pair_precision,
    purity,
)
from ahpcl.core.clustering.class_shares import ClassShares, class_shares
from ahpcl.core.metrics.cluster_quality import (
    Confusion,
    confusion,
    grouping_report,
    level_agreement,
    silhouette,
)
from ahpcl.core.metrics.count import count_kinds
from ahpcl.core.metrics.count_result import (
    Candidate,
    CountSettings,
    KindCount,
)
from ahpcl.core.metrics.episodes import (
    EpisodeResult,
    few_shot_episodes,
    sample_episodes,
)
from ahpcl.core.metrics.feature_health import (
    alignment,
    collapse_alarms,
    feature_health,
    rankme,
    spread,
    uniformity,
)
from ahpcl.core.metrics.knn import knn_accuracy, knn_classify, knn_predictions
from ahpcl.core.metrics.linear_probe import (
    ProbeResult,
    logistic_probe,
    probe_with_choice,
    sgd_probe,
)
from ahpcl.core.metrics.low_shot import (
    LowShotResult,
    average_precision,
    low_shot_svm,
)
from ahpcl.core.metrics.neighbours import (
    nearest_neighbours,
    neighbour_outliers,
    prototype_outliers,
)
from ahpcl.core.metrics.topk import topk_accuracy

__all__ = [
    'Candidate',
    'ClassShares',
    'ClusterSizes',
    'ClusteringAgreement',
    'Confusion',
    'CountSettings',
    'EpisodeResult',
    'KindCount',
    'LowShotResult',
    'ProbeResult',
    'alignment',
    'average_precision',
    'class_shares',
    'cluster_sizes',
    'clustering_agreement',
    'collapse_alarms',
    'confusion',
    'count_kinds',
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
