"""What people call: load, embed, assign, cluster, export."""

from .encoder import Encoder, load
from .inferencers import ClusterInferencer, FeatureInferencer

__all__ = ['ClusterInferencer', 'Encoder', 'FeatureInferencer', 'load']
