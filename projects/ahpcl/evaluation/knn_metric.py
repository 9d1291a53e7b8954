"""k nearest neighbours on frozen features."""

from mmengine.registry import METRICS
from torch import Tensor

from ahpcl.core import knn_accuracy

from .feature_metric import FeatureMetric


@METRICS.register_module()
class KNNMetric(FeatureMetric):
    """Top-1 of a weighted kNN classifier, logged as ``knn/top1`` in percent.

    The images with the role 'reference' vote on those with the role 'query'
    (Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination", CVPR 2018). Any number of images.

    Args:
        k: Neighbours; all where there are fewer references.
        temperature: A neighbour of cosine s votes with exp(s / temperature).
        weighted: False for one vote each.
        collect_device: As in mmengine.

    Raises:
        ValueError: if no image, or every image, is a reference.
    """

    default_prefix = 'knn'

    def __init__(
        self,
        k: int = 20,
        temperature: float = 0.07,
        weighted: bool = True,
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(collect_device=collect_device)
        self.k = k
        self.temperature = temperature
        self.weighted = weighted

    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Classify the queries by the references."""
        if not bool(query.any()) or bool(query.all()):
            raise ValueError(
                'expected images with the role reference and others with the '
                f'role query, got {int(query.sum())} queries of {len(query)} '
                "images; put SetRole(role='reference') into the pipeline of "
                "the former and pack it with meta_keys=['role']"
            )
        accuracy = knn_accuracy(
            features[~query],
            labels[~query],
            features[query],
            labels[query],
            k=self.k,
            temperature=self.temperature,
            weighted=self.weighted,
        )
        return dict(top1=float(accuracy))
