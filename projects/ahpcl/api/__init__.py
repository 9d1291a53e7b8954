"""What people call: train, load, embed, assign, cluster, export."""

from .cluster import Clusters, cluster
from .cluster_inferencer import ClusterInferencer
from .encoder import Encoder, load
from .inferencers import FeatureInferencer

__all__ = [
    'ClusterInferencer',
    'Clusters',
    'Encoder',
    'FeatureInferencer',
    'cluster',
    'load',
]
