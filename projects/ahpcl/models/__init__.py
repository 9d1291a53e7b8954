"""Registered models: the algorithm, its head, its losses and their parts."""

from .ahpcl import AHPCL
from .batch_shuffle import gather_batches, shuffle_batch, unshuffle_batch
from .features import PooledFeatures, pool_features
from .hpcl_head import HPCLHead
from .losses import InfoNCELoss, ProtoNCELoss
from .pixels import PixelBackbone
from .queue import FeatureQueue
from .split_batchnorm import SplitBatchNorm

__all__ = [
    'AHPCL',
    'FeatureQueue',
    'HPCLHead',
    'InfoNCELoss',
    'PixelBackbone',
    'PooledFeatures',
    'ProtoNCELoss',
    'SplitBatchNorm',
    'gather_batches',
    'pool_features',
    'shuffle_batch',
    'unshuffle_batch',
]
