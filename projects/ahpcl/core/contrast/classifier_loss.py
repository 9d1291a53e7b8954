"""Classification of clusters as a function of tensors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core.contrast.batches import (
    check_batch,
    full_precision,
    strict_top1,
)

__all__ = ['classify_clusters']


def classify_clusters(
    query: Tensor,
    weights: Tensor,
    target: Tensor,
    *,
    temperature: float = 0.1,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Cross entropy of the clusters of images, by cosines to weights.

    L = mean_i -log softmax_j(q_i . w_j / (|w_j| tau))[s_i], where s_i is the
    cluster of the image: DeepCluster's loss (Caron et al., "Deep Clustering
    for Unsupervised Learning of Visual Features", ECCV 2018, equation 1) with
    the cosines of Gidaris and Komodakis ("Dynamic Few-Shot Visual Learning
    without Forgetting", CVPR 2018), which stay bounded at any learning rate.

    Args:
        query: Unit rows, (B, D).
        weights: One row for every cluster, of any length but 0, (K, D).
        target: Cluster of every image, (B,) int64 in [0, K).
        temperature: tau, above 0.
        label_smoothing: Share of the target that all clusters have alike.

    Returns:
        Loss, and accuracy in percent (a tie is wrong).

    Raises:
        ValueError: If the shapes do not fit or the temperature is not
            positive.

    Examples:
        >>> query, target = torch.eye(2), torch.tensor([0, 1])
        >>> loss, accuracy = classify_clusters(query, 3 * query, target)
        >>> round(float(loss), 6), float(accuracy)
        (4.5e-05, 100.0)
    """
    check_batch('query', query)
    if weights.ndim != 2 or weights.shape[1] != query.shape[1]:
        raise ValueError(
            f'expected weights of shape (K, {query.shape[1]}), got '
            f'{tuple(weights.shape)}'
        )
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(
            f'expected a temperature above 0 (0.1 is usual), got {temperature}'
        )
    dtype = torch.promote_types(query.dtype, torch.float32)
    with full_precision(query.device):
        unit = F.normalize(weights.to(dtype), dim=1)
        scores = query.to(dtype) @ unit.t() / temperature
        loss = F.cross_entropy(scores, target, label_smoothing=label_smoothing)
    return loss, 100.0 * strict_top1(scores, target).to(dtype).mean()
