"""The relatives of the method, models and hooks; importing registers them."""

import importlib.util

from .kmeans_labels import KMeansLabels
from .online_memory import OnlineClusteringMemory
from .pixels import PixelBackbone
from .sinkhorn_labels import SinkhornLabels

if importlib.util.find_spec('mmselfsup') is not None:
    from .odc import OnlineDeepClustering
    from .odc_hook import OnlineClusteringHook
    from .pseudo_label import ClusterCrossEntropy, PseudoLabelClassifier
    from .pseudo_label_hook import PseudoLabelHook
    from .simclr import SimCLRBaseline
    from .swav import SwAVBaseline
    from .swav_hook import SwAVScheduleHook
    from .swav_loss import SwappedPredictionLoss
    from .uniform_cluster_sampler import UniformClusterSampler
else:
    from . import without_mmselfsup as without_mmselfsup

__all__ = [
    'ClusterCrossEntropy',
    'KMeansLabels',
    'OnlineClusteringHook',
    'OnlineClusteringMemory',
    'OnlineDeepClustering',
    'PixelBackbone',
    'PseudoLabelClassifier',
    'PseudoLabelHook',
    'SimCLRBaseline',
    'SinkhornLabels',
    'SwAVBaseline',
    'SwAVScheduleHook',
    'SwappedPredictionLoss',
    'UniformClusterSampler',
]
