"""Registered metrics on features, and evaluation of a finished run."""

from .cluster_metric import ClusterMetric
from .count_metric import CountMetric
from .evaluate import evaluate
from .feature_metric import FeatureMetric
from .feature_set import FeatureSet
from .few_shot_metric import FewShotMetric
from .finetune_metric import FineTuneMetric, ModelAccessHook
from .health_metric import HealthMetric
from .knn_metric import KNNMetric
from .linear_metric import LinearMetric
from .run_data import RunData
from .svm_metric import SVMMetric

__all__ = [
    'ClusterMetric',
    'CountMetric',
    'FeatureMetric',
    'FeatureSet',
    'FewShotMetric',
    'FineTuneMetric',
    'HealthMetric',
    'KNNMetric',
    'LinearMetric',
    'ModelAccessHook',
    'RunData',
    'SVMMetric',
    'evaluate',
]
