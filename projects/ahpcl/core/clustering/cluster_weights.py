"""Loss weights and draws that make up for clusters of unequal size."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ahpcl.core.clustering.rows import rank_in_segment

__all__ = ['inverse_size_weights', 'uniform_over_clusters']


def inverse_size_weights(sizes: Tensor, power: float = 0.5) -> Tensor:
    """Loss weight of every cluster, its size to the power ``-power``.

    ODC (Zhan et al., CVPR 2020, section 3.3) takes the inverse square root.
    The weights sum to 1. A cluster without images has weight 0: nothing has
    its label. (Published code gives it 1e10 ** power before it normalises,
    which leaves next to nothing for all others.)

    Args:
        sizes: Images of every cluster, (K,) whole and >= 0.
        power: 0 for equal weights.

    Returns:
        (K,) float32; all equal where every cluster is empty.

    Raises:
        ValueError: If the shape or a number does not fit.

    Examples:
        >>> inverse_size_weights(torch.tensor([1, 4, 0]))
        tensor([0.6667, 0.3333, 0.0000])
    """
    if sizes.ndim != 1 or len(sizes) == 0 or bool((sizes < 0).any()):
        raise ValueError(
            f'expected sizes of shape (K,), none negative, got '
            f'{tuple(sizes.shape)}'
        )
    if power < 0:
        raise ValueError(
            f'expected a power of at least 0, such as 0.5 for the inverse '
            f'square root, got {power}'
        )
    filled = sizes > 0
    if not bool(filled.any()):
        filled = torch.ones_like(filled)
    raw = sizes.double().clamp(min=1).pow(-power) * filled
    return (raw / raw.sum()).float()


def uniform_over_clusters(
    labels: Tensor, num_clusters: int, length: int, generator: Generator
) -> Tensor:
    """Draw images so that every cluster is seen equally often.

    DeepCluster (Caron et al., ECCV 2018, section 3.3, "trivial
    parametrization"): from every cluster with images
    ``length // clusters + 1`` are drawn, without repetition where it has
    more than that, else with repetition; the draws are shuffled and the
    first ``length`` are taken.

    Args:
        labels: Cluster of every image, (N,) int64 in [0, K), on the CPU.
        num_clusters: K.
        length: Draws.
        generator: On the CPU.

    Returns:
        Indices of images in random order, (length,) int64.

    Raises:
        ValueError: If a label is out of range or there are no images.

    Examples:
        >>> labels = torch.tensor([0] * 9 + [1])
        >>> source = torch.Generator().manual_seed(0)
        >>> drawn = uniform_over_clusters(labels, 2, 10, source)
        >>> 4 <= int((labels[drawn] == 1).sum()) <= 6
        True
    """
    if len(labels) == 0 or length < 1:
        raise ValueError(
            f'expected at least one image and one draw, got {len(labels)} '
            f'and {length}'
        )
    if int(labels.min()) < 0 or int(labels.max()) >= num_clusters:
        raise ValueError(
            f'expected labels from 0 to {num_clusters - 1}, got '
            f'{int(labels.min())} to {int(labels.max())}'
        )
    sizes = torch.bincount(labels, minlength=num_clusters)
    filled = (sizes > 0).nonzero().squeeze(1)
    each = length // len(filled) + 1
    # Members of every cluster, one after the other, in random order.
    order = torch.randperm(len(labels), generator=generator)
    members = order[torch.argsort(labels[order], stable=True)]
    first = (sizes.cumsum(0) - sizes)[filled].repeat_interleave(each)
    size = sizes[filled].repeat_interleave(each)
    draws = len(filled) * each
    turn = rank_in_segment(
        torch.arange(len(filled)).repeat_interleave(each), len(filled)
    )
    chance = torch.rand(draws, dtype=torch.float64, generator=generator)
    again = (chance * size).long().clamp(max=size - 1)
    drawn = members[first + torch.where(size > each, turn, again)]
    shuffle = torch.randperm(draws, generator=generator)
    return drawn[shuffle[:length]]
