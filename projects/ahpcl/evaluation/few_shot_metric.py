"""Few-shot classification on frozen features."""

from collections.abc import Sequence

from mmengine.registry import METRICS
from torch import Tensor

from ahpcl.core.metrics.episodes import (
    CLASSIFIERS,
    check_episodes,
    few_shot_episodes,
)

from .feature_metric import FeatureMetric


@METRICS.register_module()
class FewShotMetric(FeatureMetric):
    """Accuracy over random episodes, logged as ``fewshot/...`` in percent.

    Each episode draws classes, labelled images of each and images to
    classify; only images with the role 'query' take part. The mean over the
    episodes and its 95 % interval (``..._ci95``), which is over episodes, not
    over training runs. Meant for classes that training never saw.

    Args:
        ways: Classes per episode; None for all classes.
        shots: Labelled images per class, or several such numbers.
        queries: Images per class to classify; None for all others.
        episodes: Number of episodes.
        seed: Seed of the episodes.
        classifier: One of :data:`ahpcl.core.metrics.episodes.CLASSIFIERS`, or
            several. The nearest centroid is logged as ``5way_1shot``, the
            others with their name behind it.
        collect_device: Where results are gathered, as in mmengine.
        prefix: Prefix of the logged names, as in mmengine.

    Raises:
        ValueError: If a classifier is unknown.
    """

    default_prefix = 'fewshot'

    def __init__(
        self,
        ways: int | None = 5,
        shots: int | Sequence[int] = 1,
        queries: int | None = 15,
        episodes: int = 2000,
        seed: int = 0,
        classifier: str | Sequence[str] = 'nearest_centroid',
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ways = ways
        self.shots = [shots] if isinstance(shots, int) else list(shots)
        self.queries = queries
        self.episodes = episodes
        self.seed = seed
        self.classifiers = (
            [classifier] if isinstance(classifier, str) else list(classifier)
        )
        unknown = [c for c in self.classifiers if c not in CLASSIFIERS]
        if unknown:
            raise ValueError(
                f'expected classifiers among {CLASSIFIERS}, got {unknown}'
            )

    def check(self, labels: Tensor, query: Tensor) -> None:
        """Refuse too few classes, or classes with too few images."""
        super().check(labels, query)
        labels = labels[query & (labels >= 0)]
        for shots in self.shots:
            check_episodes(
                labels,
                ways=self._ways(labels),
                shots=shots,
                queries=self.queries,
            )

    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Draw the episodes and classify them."""
        features = features[query.to(features.device)]
        labels = labels[query]
        ways = self._ways(labels)
        found = {}
        for shots in self.shots:
            for classifier in self.classifiers:
                mean, half_width = few_shot_episodes(
                    features,
                    labels,
                    ways=ways,
                    shots=shots,
                    queries=self.queries,
                    episodes=self.episodes,
                    seed=self.seed,
                    classifier=classifier,
                )
                name = f'{ways}way_{shots}shot'
                if classifier != 'nearest_centroid':
                    name += f'_{classifier}'
                found[name] = float(mean)
                found[f'{name}_ci95'] = float(half_width)
        return found

    def _ways(self, labels: Tensor) -> int:
        return self.ways or len(labels.unique())
