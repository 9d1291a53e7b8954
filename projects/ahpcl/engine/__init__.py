"""Registered hooks and what they are made of; the training loop's side."""

from . import policies  # noqa: F401  (registers them)
from .adaptive_cluster_hook import AdaptiveClusterHook
from .checkpoint_hook import PlainCheckpointHook
from .clustering import KMeansClustering
from .deferred_info_hook import DeferredInfoHook
from .epoch_means import EpochMeans
from .estep import EStep, EStepResult
from .extraction import check_extract_loader, extract_features
from .feature_health_hook import FeatureHealthHook
from .invalid_loss_hook import InvalidLossHook
from .kmeans_labels import KMeansLabels
from .label_smoothing import LadderSmoothing
from .ladders import build_ladder
from .odc_hook import OnlineClusteringHook
from .optim_wrapper import BF16OptimWrapper
from .optimizer_state import align_optimizer_state
from .pseudo_label_hook import PseudoLabelHook
from .sample_seed_hook import SampleSeedHook
from .sinkhorn_clustering import SinkhornClustering
from .sinkhorn_labels import SinkhornLabels
from .start_checkpoint_hook import StartCheckpointHook
from .swav_hook import SwAVScheduleHook
from .train_loop import CheckedEpochTrainLoop
from .two_views import two_view_features
from .unwrap import unwrap
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = [
    'AdaptiveClusterHook',
    'BF16OptimWrapper',
    'CheckedEpochTrainLoop',
    'DeferredInfoHook',
    'EStep',
    'EStepResult',
    'EpochMeans',
    'FeatureHealthHook',
    'InvalidLossHook',
    'KMeansClustering',
    'KMeansLabels',
    'LadderSmoothing',
    'OnlineClusteringHook',
    'PlainCheckpointHook',
    'PseudoLabelHook',
    'SampleSeedHook',
    'SinkhornClustering',
    'SinkhornLabels',
    'StartCheckpointHook',
    'SwAVScheduleHook',
    'WholeCheckpointHook',
    'align_optimizer_state',
    'build_ladder',
    'check_extract_loader',
    'extract_features',
    'two_view_features',
    'unwrap',
]
