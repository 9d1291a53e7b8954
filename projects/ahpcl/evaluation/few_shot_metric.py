"""Few-shot episodes on frozen features."""

from mmengine.registry import METRICS
from torch import Tensor

from ahpcl.core import few_shot_episodes

from .feature_metric import FeatureMetric


@METRICS.register_module()
class FewShotMetric(FeatureMetric):
    """N-way K-shot accuracy of the nearest centroid, in percent.

    Episodes are drawn from the query images alone. Logged as
    ``fewshot/<ways>way_<shots>shot`` with the half width of its 95 percent
    interval over episodes.

    Args:
        ways: Classes of an episode; None for all.
        shots: Labelled images per class.
        queries: Images per class to classify; None for all others.
        episodes: Number of episodes.
        seed: Of the episodes.
        collect_device: As in mmengine.
    """

    default_prefix = 'fewshot'

    def __init__(
        self,
        ways: int | None = 5,
        shots: int = 1,
        queries: int | None = 15,
        episodes: int = 2000,
        seed: int = 0,
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(collect_device=collect_device)
        self.ways = ways
        self.shots = shots
        self.queries = queries
        self.episodes = episodes
        self.seed = seed

    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Draw the episodes and classify them."""
        labels = labels[query]
        ways = self.ways or len(labels.unique())
        mean, half_width = few_shot_episodes(
            features[query],
            labels,
            ways=ways,
            shots=self.shots,
            queries=self.queries,
            episodes=self.episodes,
            seed=self.seed,
        )
        name = f'{ways}way_{self.shots}shot'
        return {name: float(mean), f'{name}_ci95': float(half_width)}
