"""How well a fresh k-means of the features agrees with the labels."""

import torch.nn.functional as F
from mmengine.registry import METRICS
from torch import Tensor

from ahpcl.core import clustering_agreement, spherical_kmeans

from .feature_metric import FeatureMetric


@METRICS.register_module()
class ClusterMetric(FeatureMetric):
    """NMI, AMI and ARI of a spherical k-means, logged as ``cluster/...``.

    All images count, whatever their role.

    Args:
        num_clusters: K; None for the number of classes.
        n_init: Restarts of which the best objective is taken.
        seed: Of the k-means.
        collect_device: As in mmengine.
    """

    default_prefix = 'cluster'

    def __init__(
        self,
        num_clusters: int | None = None,
        n_init: int = 10,
        seed: int = 0,
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(collect_device=collect_device)
        self.num_clusters = num_clusters
        self.n_init = n_init
        self.seed = seed

    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Cluster all images and compare with the labels."""
        result = spherical_kmeans(
            F.normalize(features, dim=1),
            self.num_clusters or len(labels.unique()),
            n_iter=50,
            n_init=self.n_init,
            seed=self.seed,
        )
        return clustering_agreement(labels, result.assignments)._asdict()
