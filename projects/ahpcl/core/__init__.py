"""The method as pure functions of tensors, without registry or ranks."""

from ahpcl.core.clustering.agreement import (
    ClusteringAgreement,
    cluster_sizes,
    clustering_agreement,
    hungarian_accuracy,
    pair_precision,
    purity,
)
from ahpcl.core.clustering.balance import balanced_assignment
from ahpcl.core.clustering.concentration import concentration
from ahpcl.core.clustering.equal_codes import equal_labels, sinkhorn
from ahpcl.core.clustering.hierarchy import build_hierarchy, check_hierarchy
from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.points import Clustering
from ahpcl.core.clustering.prototypes import PrototypeHierarchy, PrototypeLevel
from ahpcl.core.clustering.search import available_backends
from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.contrast.losses import info_nce, smoothing_factor
from ahpcl.core.contrast.prototype_loss import proto_nce
from ahpcl.core.metrics.episodes import EpisodeResult, few_shot_episodes
from ahpcl.core.metrics.knn import knn_accuracy, knn_classify
from ahpcl.core.schedule.ladder import ClusterLadder
from ahpcl.core.schedule.policies import (
    FixedPolicy,
    PlateauPolicy,
    SlidingWindowPolicy,
    StabilityPolicy,
)
from ahpcl.core.schedule.policy_base import Decision, Policy

from .metrics import topk_accuracy
from .seeding import seed_from

__all__ = [
    'ClusterLadder',
    'Clustering',
    'ClusteringAgreement',
    'Decision',
    'EpisodeResult',
    'FixedPolicy',
    'KMeansSettings',
    'PlateauPolicy',
    'Policy',
    'PrototypeHierarchy',
    'PrototypeLevel',
    'SlidingWindowPolicy',
    'StabilityPolicy',
    'available_backends',
    'balanced_assignment',
    'build_hierarchy',
    'check_hierarchy',
    'cluster_sizes',
    'clustering_agreement',
    'concentration',
    'equal_labels',
    'few_shot_episodes',
    'hungarian_accuracy',
    'info_nce',
    'knn_accuracy',
    'knn_classify',
    'pair_precision',
    'proto_nce',
    'purity',
    'seed_from',
    'sinkhorn',
    'smoothing_factor',
    'spherical_kmeans',
    'topk_accuracy',
]
