"""The relatives of the method, models and hooks; importing registers them."""

import importlib.util

from .kmeans_labels import KMeansLabels
from .odc_hook import OnlineClusteringHook
from .online_memory import OnlineClusteringMemory
from .pixels import PixelBackbone
from .pseudo_label_hook import PseudoLabelHook
from .sinkhorn_labels import SinkhornLabels
from .swav_hook import SwAVScheduleHook

if importlib.util.find_spec('mmselfsup') is not None:
    from .odc import OnlineDeepClustering
    from .pseudo_label import ClusterCrossEntropy, PseudoLabelClassifier
    from .simclr import SimCLRBaseline
    from .swav import SwAVBaseline
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
