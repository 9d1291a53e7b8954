"""Health of the features, without labels."""

from typing import ClassVar

from mmengine.logging import print_log
from mmengine.registry import METRICS
from torch import Tensor

from ahpcl.core.metrics.feature_health import collapse_alarms, feature_health

from .feature_metric import FeatureMetric


@METRICS.register_module()
class HealthMetric(FeatureMetric):
    """RankMe, uniformity, mean cosine and spread, logged as ``health/...``.

    All images count, whatever their role; what looks like collapse is logged
    as a warning. Alignment needs two views of an image, see
    :class:`ahpcl.engine.FeatureHealthHook`.

    Args:
        seed: Seed of the samples that large sets are cut to.
        collect_device: Where results are gathered, as in mmengine.
        prefix: Prefix of the logged names, as in mmengine.
    """

    default_prefix = 'health'
    needs_labels: ClassVar[bool] = False

    def __init__(
        self,
        seed: int = 0,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.seed = seed

    def check(self, labels: Tensor, query: Tensor) -> None:
        """Refuse a single image."""
        if len(labels) < 2:
            raise ValueError(
                f'expected at least two images, got {len(labels)}'
            )

    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Measure all images."""
        health = feature_health(features, seed=self.seed)
        for alarm in collapse_alarms(health):
            print_log(alarm, logger='current', level=30)
        return health
