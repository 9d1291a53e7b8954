"""The relatives of the method, models and hooks; importing registers them."""

from .kmeans_labels import KMeansLabels
from .odc import OnlineDeepClustering
from .odc_hook import OnlineClusteringHook
from .online_memory import OnlineClusteringMemory
from .pixels import PixelBackbone
from .pseudo_label import ClusterCrossEntropy, PseudoLabelClassifier
from .pseudo_label_hook import PseudoLabelHook
from .simclr import SimCLRBaseline
from .sinkhorn_labels import SinkhornLabels
from .swav import SwAVBaseline
from .swav_hook import SwAVScheduleHook
from .swav_loss import SwappedPredictionLoss
from .uniform_cluster_sampler import UniformClusterSampler

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
