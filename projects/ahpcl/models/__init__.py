"""Registered models: the algorithms, their heads, losses and parts."""

from .ahpcl import AHPCL
from .batch_shuffle import gather_batches, shuffle_batch, unshuffle_batch
from .cluster_cross_entropy import ClusterCrossEntropy
from .device_views import DeviceViews
from .features import PooledFeatures, pool_features
from .gather_with_gradient import gather_with_gradient
from .hpcl_head import HPCLHead
from .losses import InfoNCELoss, ProtoNCELoss
from .moco import MoCoBaseline
from .odc import OnlineDeepClustering
from .online_memory import OnlineClusteringMemory
from .pixels import PixelBackbone
from .pseudo_label import PseudoLabelClassifier
from .queue import FeatureQueue
from .selection import HierarchicalSelection
from .simclr import SimCLRBaseline
from .split_batchnorm import SplitBatchNorm
from .swav import SwAVBaseline
from .swav_loss import SwappedPredictionLoss
from .view_preprocessor import ViewPreprocessor

__all__ = [
    'AHPCL',
    'ClusterCrossEntropy',
    'DeviceViews',
    'FeatureQueue',
    'HPCLHead',
    'HierarchicalSelection',
    'InfoNCELoss',
    'MoCoBaseline',
    'OnlineClusteringMemory',
    'OnlineDeepClustering',
    'PixelBackbone',
    'PooledFeatures',
    'ProtoNCELoss',
    'PseudoLabelClassifier',
    'SimCLRBaseline',
    'SplitBatchNorm',
    'SwAVBaseline',
    'SwappedPredictionLoss',
    'ViewPreprocessor',
    'gather_batches',
    'gather_with_gradient',
    'pool_features',
    'shuffle_batch',
    'unshuffle_batch',
]
