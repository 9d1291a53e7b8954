"""k nearest neighbours on frozen features."""

from collections.abc import Sequence
from typing import Literal

from mmengine.registry import METRICS
from torch import Tensor

from ahpcl.core.metrics.knn import knn_predictions

from .feature_metric import FeatureMetric, check_roles, check_several_classes


@METRICS.register_module()
class KNNMetric(FeatureMetric):
    """Top-1 of a weighted kNN classifier, logged as ``knn/top1`` in percent.

    The images with the role 'reference' vote on those with the role 'query'
    (Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination", CVPR 2018). Any number of images.

    Args:
        k: Number of neighbours, at most all references. Several are
            logged as ``top1_k<k>``.
        temperature: A neighbour of cosine s votes with exp(s / temperature).
        weighted: False for one vote each; 'both' logs that as well, as
            ``..._majority``.
        collect_device: Where results are gathered, as in mmengine.
        prefix: Prefix of the logged names, as in mmengine.

    Raises:
        ValueError: If ``weighted`` is something else.
    """

    default_prefix = 'knn'

    def __init__(
        self,
        k: int | Sequence[int] = 20,
        temperature: float = 0.07,
        weighted: bool | Literal['both'] = True,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if weighted not in (True, False, 'both'):
            raise ValueError(
                f"expected weighted True, False or 'both', got {weighted!r}"
            )
        self.k = k
        self.temperature = temperature
        self.weighted = weighted

    def check(self, labels: Tensor, query: Tensor) -> None:
        """Refuse images without labels, of one class or of one role only."""
        super().check(labels, query)
        check_several_classes(labels)
        check_roles(query)

    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Classify the queries by the references."""
        check_several_classes(labels)
        check_roles(query)
        several = isinstance(self.k, Sequence)
        both = self.weighted == 'both'
        found = knn_predictions(
            features[~query],
            labels[~query],
            features[query],
            ks=list(self.k) if isinstance(self.k, Sequence) else [self.k],
            weightings=[True, False] if both else [bool(self.weighted)],
            temperature=self.temperature,
        )
        truth = labels[query]
        accuracies = {}
        for (k, weighted), predicted in found.items():
            name = f'top1_k{k}' if several else 'top1'
            name += '' if weighted or not both else '_majority'
            hits = predicted.cpu() == truth.cpu()
            accuracies[name] = 100.0 * float(hits.double().mean())
        return accuracies
