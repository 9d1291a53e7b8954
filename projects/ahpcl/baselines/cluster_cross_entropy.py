"""Cross entropy against clusters, weighted by cluster."""

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ClusterCrossEntropy(nn.Module):
    """Cross entropy with a weight per class, a weighted mean over the batch.

    DeepCluster and ODC were published with ``torch.nn.CrossEntropyLoss``,
    which divides by the sum of the weights in the batch, so that only their
    ratios count. The host's loss divides by the number of images; with its
    weights, which sum to 1 over the classes, every gradient is K times
    smaller than published.

    ``class_weight``, (K,) or None for equal weights, is set by the algorithm.
    """

    class_weight: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.class_weight = None

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits: (B, K).
            labels: (B,) int64.
        """
        return F.cross_entropy(
            logits.float(), labels, weight=self.class_weight
        )
