"""Selects the negatives of a query as HCSC does.

Guo et al., "HCSC: Hierarchical Contrastive Selective Coding", CVPR 2022. A
negative that probably belongs to the query's own cluster is dropped at
random. Probabilities are those of the published code. That code multiplies
the logits of dropped negatives by 0, which keeps them in the softmax as a
negative of cosine 0, and never contrasts the last prototype of a level. Here
a loss masks what is dropped by minus infinity, and all prototypes take part.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ahpcl.core.clustering.prototypes import PrototypeLevel
from ahpcl.core.contrast.batches import full_precision, to_device
from ahpcl.core.contrast.prototype_loss import own_prototypes

__all__ = [
    'draw_negative_mask',
    'keep_probability',
    'select_keys',
    'select_prototypes',
]

# Logits of the largest block at once: 64 MiB in float32.
_BLOCK = 2**24


@torch.no_grad()
def keep_probability(
    points: Tensor,
    centroids: Tensor,
    concentration: Tensor,
    own: Tensor,
    *,
    block: int = _BLOCK,
) -> Tensor:
    """Return the probability that a point stays a negative of a query.

    It is 1 - p. Here p is the probability that the point belongs to the
    query's cluster: the softmax over the K clusters of `point . c_j / phi_j`
    at that cluster (HCSC, with the temperature of every cluster as in PCL).

    Time O(P K D), memory O(P B) for the result and at most `block` logits
    at once.

    Args:
        points: Normalised negatives, (P, D).
        centroids: Unit rows, (K, D).
        concentration: phi > 0 of every cluster, (K,).
        own: Cluster of every query, (B,) int64 in [0, K).
        block: Logits held at once.

    Returns:
        Probabilities in [0, 1], (B, P), on the device of the points.

    Examples:
        >>> points, centroids = torch.eye(2), torch.eye(2)
        >>> phi, own = torch.full((2,), 0.2), torch.tensor([0])
        >>> keep_probability(points, centroids, phi, own).round(decimals=3)
        tensor([[0.0070, 0.9930]])
    """
    dtype = torch.promote_types(points.dtype, torch.float32)
    rows = max(block // len(centroids), 1)
    result = points.new_empty(len(own), len(points), dtype=dtype)
    with full_precision(points.device):
        scaled = (centroids.to(dtype) / concentration.to(dtype)[:, None]).t()
        for start in range(0, len(points), rows):
            logits = points[start : start + rows].to(dtype) @ scaled
            p = (logits[:, own] - logits.logsumexp(1, keepdim=True)).exp()
            result[:, start : start + rows] = (1 - p).clamp(min=0).t()
    return result


@torch.no_grad()
def draw_negative_mask(
    probability: Tensor, generator: torch.Generator
) -> Tensor:
    """Draw for every pair whether it is a negative.

    Args:
        probability: Probability that a pair is a negative, any shape.
        generator: Source of the draw, on any device. If that is not the
            device of `probability`, one draw from it seeds a generator
            there, so that no large tensor travels.

    Returns:
        True for a negative, bool, same shape. It is never True at
        probability 0, and always at 1.

    Examples:
        >>> probability = torch.tensor([0.0, 1.0])
        >>> draw_negative_mask(probability, torch.Generator().manual_seed(0))
        tensor([False,  True])
    """
    device = probability.device
    if generator.device != device:
        seed = torch.randint(2**62, (1,), generator=generator).item()
        generator = torch.Generator(device).manual_seed(int(seed))
    draws = torch.rand(
        probability.shape,
        dtype=probability.dtype,
        device=device,
        generator=generator,
    )
    return draws < probability


def select_keys(
    queue: Tensor,
    level: PrototypeLevel,
    sample_idx: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Select negatives among keys at one level, instance-wise (HCSC).

    A key of the queue stays a negative of a query with the probability that
    it does not belong to the query's cluster. That cluster is the one that
    the E-step gave to the image.

    Args:
        queue: Normalised keys, (D, Q).
        level: A `PrototypeLevel` on the queue's device.
        sample_idx: Index of every image of the batch, (B,) integers.
        generator: Source of the draw, see `draw_negative_mask`.

    Returns:
        True where the key is a negative, (B, Q) bool.

    Raises:
        ValueError: If an index is out of range.

    Examples:
        >>> from ahpcl.core import PrototypeLevel
        >>> level = PrototypeLevel(
        ...     torch.eye(2), torch.tensor([0, 1]), torch.full((2,), 0.05)
        ... )
        >>> generator = torch.Generator().manual_seed(0)
        >>> select_keys(torch.eye(2), level, torch.tensor([0, 1]), generator)
        tensor([[False,  True],
                [ True, False]])
    """
    own = own_prototypes(level, sample_idx, queue.device)
    probability = keep_probability(
        queue.t(), level.centroids, level.concentration, own
    )
    return draw_negative_mask(probability, generator)


def select_prototypes(
    level: PrototypeLevel,
    coarser: PrototypeLevel,
    parents: Tensor,
    sample_idx: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Select negatives among the prototypes of one level (HCSC).

    A prototype stays a negative of a query with the probability that it does
    not belong to the parent of the query's own prototype. (At the coarsest
    level, which has no parents, all are kept: do not call it there.)

    Args:
        level: A `PrototypeLevel`.
        coarser: The next coarser one.
        parents: The cluster of `coarser` that every cluster of `level` belongs
            to, (K,), on the device of the assignments of `level`.
        sample_idx: Index of every image of the batch, (B,) integers.
        generator: Source of the draw, see `draw_negative_mask`.

    Returns:
        True where the prototype is a negative, (B, K) bool. The query's own
        prototype is drawn like the others; a loss keeps it as the positive.

    Raises:
        ValueError: If an index is out of range.

    Examples:
        >>> from ahpcl.core import PrototypeLevel
        >>> level = PrototypeLevel(
        ...     torch.eye(2), torch.tensor([0, 1]), torch.full((2,), 0.05)
        ... )
        >>> generator = torch.Generator().manual_seed(0)
        >>> parents = torch.tensor([0, 1])
        >>> select_prototypes(
        ...     level, level, parents, torch.tensor([0, 1]), generator
        ... )
        tensor([[False,  True],
                [ True, False]])
    """
    own = own_prototypes(level, sample_idx, parents.device)
    probability = keep_probability(
        level.centroids,
        coarser.centroids,
        coarser.concentration,
        to_device(parents[own], level.centroids.device),
    )
    return draw_negative_mask(probability, generator)
