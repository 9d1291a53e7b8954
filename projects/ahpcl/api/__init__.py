"""What people call: train, load, embed, assign, cluster, export."""

from .cluster import Clusters, cluster
from .encoder import Encoder, load
from .inferencers import ClusterInferencer, FeatureInferencer

__all__ = [
    'ClusterInferencer',
    'Clusters',
    'Encoder',
    'FeatureInferencer',
    'cluster',
    'load',
]
