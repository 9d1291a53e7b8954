"""Instance and prototype contrast as functions of tensors.

Sources: InfoNCE of MoCo (He et al., CVPR 2020, eq. 1) and ProtoNCE of PCL
(Li et al., ICLR 2021, eq. 11). Neither function checks its inputs for NaN or
infinity, which would cost a pass over them in every iteration: a non-finite
input gives a non-finite loss and counts as a wrong answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core.contrast.batches import (
    check_batch,
    full_precision,
    strict_top1,
)
from ahpcl.core.contrast.prototype_loss import proto_nce

__all__ = ['info_nce', 'proto_nce', 'smoothing_factor']


def info_nce(
    query: Tensor,
    key: Tensor,
    queue: Tensor,
    *,
    temperature: float = 0.2,
    negative_masks: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Contrast every query with its own key and with a queue of others.

    The logits are computed in float32 (float64 for float64 queries), under
    autocast too. Gradients reach every argument that asks for them; a queue
    that is overwritten before the backward pass must be passed as a copy.

    Args:
        query: Normalised features of the first view, (B, D).
        key: Normalised features of the second view, (B, D).
        queue: Normalised features of other images, (D, Q); Q may be 0.
        temperature: The divisor of the cosines, above 0.
        negative_masks: Masks, each (B, Q) bool: which keys of the queue are
            negatives of which query, such as those of `select_keys`. The
            loss is the mean over the masks (HCSC, Guo et al., CVPR 2022);
            what a mask leaves out is minus infinity. Every mask takes
            another B x Q logits until the backward pass. The accuracy is
            among all keys, with and without masks.

    Returns:
        The mean cross entropy, 0-dim, and the detached top-1 accuracy in
        percent, 0-dim. A query counts as right only if its key is nearer
        than all of the queue: a tie (collapsed features) counts as wrong.

    Raises:
        ValueError: If the shapes do not fit or the temperature is not
            positive, or there is no mask in `negative_masks`.

    Examples:
        >>> query = torch.eye(2)
        >>> loss, accuracy = info_nce(query, key=query, queue=-query)
        >>> round(float(loss), 4), float(accuracy)
        (0.0068, 100.0)
    """
    check_batch('query', query)
    if key.shape != query.shape:
        raise ValueError(
            f'expected one key for each query, of shape '
            f'{tuple(query.shape)}, got {tuple(key.shape)}'
        )
    if queue.ndim != 2 or queue.shape[0] != query.shape[1]:
        raise ValueError(
            f'expected a queue of shape (D, Q) with D={query.shape[1]}, got '
            f'{tuple(queue.shape)}; features stand in its columns'
        )
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(
            f'expected a temperature above 0 (0.2 is usual), got {temperature}'
        )
    _check_masks(negative_masks, (len(query), queue.shape[1]))
    dtype = torch.promote_types(query.dtype, torch.float32)
    with full_precision(query.device):
        q = query.to(dtype)
        positive = (q * key.to(dtype)).sum(dim=1, keepdim=True)
        logits = torch.cat([positive, q @ queue.to(dtype)], dim=1)
        logits = logits / temperature
        target = torch.zeros(len(q), dtype=torch.long, device=q.device)
        if negative_masks is None:
            loss = F.cross_entropy(logits, target)
        else:
            losses = [
                F.cross_entropy(_masked(logits, mask), target)
                for mask in negative_masks
            ]
            loss = torch.stack(losses).mean()
    return loss, 100.0 * strict_top1(logits, target).to(dtype).mean()


def _masked(logits: Tensor, negatives: Tensor) -> Tensor:
    """Mask keys that are no negatives; column 0 is the positive."""
    positive = negatives.new_ones(len(negatives), 1)
    return logits.masked_fill(~torch.cat([positive, negatives], 1), -torch.inf)


def _check_masks(
    negative_masks: Sequence[Tensor] | None, shape: tuple[int, int]
) -> None:
    if negative_masks is None:
        return
    if not negative_masks:
        raise ValueError(
            'expected at least one mask in negative_masks, or None for all '
            'keys, got none'
        )
    for mask in negative_masks:
        if mask.shape != shape or mask.dtype != torch.bool:
            raise ValueError(
                f'expected masks of bool and of shape (B, Q) = {shape}, got '
                f'{mask.dtype} {tuple(mask.shape)}'
            )


def smoothing_factor(
    num_clusters: int, max_clusters: int, *, ceiling: float = 0.2
) -> float:
    """Return a label smoothing that grows as the clusters become fewer.

    `min(ceiling, ceiling * sqrt((K_max - K) / K_max))`: 0 at the largest
    rung, near the ceiling at the smallest.

    Args:
        num_clusters: K, from 1 to `max_clusters`.
        max_clusters: K_max, the largest rung of the ladder.
        ceiling: The bound, in [0, 1).

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> smoothing_factor(100, max_clusters=100)
        0.0
        >>> round(smoothing_factor(2, max_clusters=100), 3)
        0.198
    """
    if not 1 <= num_clusters <= max_clusters:
        raise ValueError(
            f'expected 1 <= num_clusters <= max_clusters, got '
            f'{num_clusters} and {max_clusters}; max_clusters is the largest '
            f'rung of the ladder'
        )
    if not 0 <= ceiling < 1:
        raise ValueError(f'expected a ceiling in [0, 1), got {ceiling}')
    share = (max_clusters - num_clusters) / max_clusters
    return min(ceiling, ceiling * math.sqrt(share))
