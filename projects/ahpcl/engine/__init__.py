"""Registered hooks and what they are made of; the training loop's side."""

from .adaptive_cluster_hook import AdaptiveClusterHook
from .clusterer import Clusterer, ClusterRequest
from .clustering import KMeansClustering
from .epoch_means import EpochMeans
from .estep import EStep, EStepResult
from .extraction import check_extract_loader, extract_features
from .feature_health_hook import FeatureHealthHook
from .schedule import LadderSmoothing, build_ladder
from .sinkhorn_clustering import SinkhornClustering
from .two_views import two_view_features

__all__ = [
    'AdaptiveClusterHook',
    'ClusterRequest',
    'Clusterer',
    'EStep',
    'EStepResult',
    'EpochMeans',
    'FeatureHealthHook',
    'KMeansClustering',
    'LadderSmoothing',
    'SinkhornClustering',
    'build_ladder',
    'check_extract_loader',
    'extract_features',
    'two_view_features',
]
