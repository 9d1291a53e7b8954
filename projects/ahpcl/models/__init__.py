"""Registered models: the algorithms, their heads, losses and parts."""

from . import renamed  # noqa: F401
from .ahpcl import AHPCL
from .batch_shuffle import gather_batches, shuffle_batch, unshuffle_batch
from .cluster_space import WhitenedFeatures
from .device_views import DeviceViews
from .features import PooledFeatures, pool_features
from .hpcl_head import HPCLHead
from .library_backbones import TimmBackbone, TorchvisionBackbone
from .losses import ClusterClassifierLoss, InfoNCELoss, ProtoNCELoss
from .queue import FeatureQueue
from .selection import HierarchicalSelection
from .split_batchnorm import SplitBatchNorm
from .view_preprocessor import ViewPreprocessor

__all__ = [
    'AHPCL',
    'ClusterClassifierLoss',
    'DeviceViews',
    'FeatureQueue',
    'HPCLHead',
    'HierarchicalSelection',
    'InfoNCELoss',
    'PooledFeatures',
    'ProtoNCELoss',
    'SplitBatchNorm',
    'TimmBackbone',
    'TorchvisionBackbone',
    'ViewPreprocessor',
    'WhitenedFeatures',
    'gather_batches',
    'pool_features',
    'shuffle_batch',
    'unshuffle_batch',
]
