"""The method as pure functions of tensors; no registry, no rank."""

from .agreement import (
    ClusteringAgreement,
    cluster_sizes,
    clustering_agreement,
    hungarian_accuracy,
    pair_precision,
    purity,
)
from .balance import balanced_assignment
from .concentration import concentration
from .episodes import EpisodeResult, few_shot_episodes
from .equal_codes import equal_labels, sinkhorn
from .hierarchy import build_hierarchy, check_hierarchy
from .kmeans import KMeansResult, spherical_kmeans
from .knn import knn_accuracy, knn_classify
from .ladder import ClusterLadder
from .losses import info_nce, smoothing_factor
from .metrics import topk_accuracy
from .policies import (
    FixedPolicy,
    PlateauPolicy,
    SlidingWindowPolicy,
    StabilityPolicy,
)
from .policy_base import Decision, Policy
from .prototype_loss import proto_nce
from .prototypes import PrototypeHierarchy, PrototypeLevel
from .search import available_backends
from .seeding import seed_from

__all__ = [
    'ClusterLadder',
    'ClusteringAgreement',
    'Decision',
    'EpisodeResult',
    'FixedPolicy',
    'KMeansResult',
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
