"""Shuffled keys, so that batch norm cannot give a pair away."""

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from torch import Generator, Tensor

from ahpcl.core.contrast.batches import to_device


@torch.no_grad()
def gather_batches(tensor: Tensor) -> Tensor:
    """The batches (B, ...) of all ranks as one (world * B, ...)."""
    if get_world_size() == 1:
        return tensor
    return torch.cat(all_gather(tensor.contiguous()))


@torch.no_grad()
def shuffle_batch(
    images: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Shuffle a batch over all ranks (He et al., CVPR 2020, section 3.3).

    On one device the batch is permuted within itself, which matters for
    batch norm in parts only (:class:`SplitBatchNorm`).

    Args:
        images: (B, ...) of this rank; B is the same on every rank.
        generator: On the CPU and in the same state on every rank.

    Returns:
        This rank's share (B, ...) of the shuffled images, and the order
        (world * B,) to undo it.
    """
    everything = gather_batches(images)
    order = torch.randperm(len(everything), generator=generator)
    order = to_device(order, images.device)
    mine = order.view(get_world_size(), -1)[get_rank()]
    return everything[mine], order


@torch.no_grad()
def unshuffle_batch(features: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Undo :func:`shuffle_batch`.

    Args:
        features: (B, D) of this rank's shuffled images.
        order: As returned by :func:`shuffle_batch`.

    Returns:
        The features (B, D) of this rank's own images, and those of all ranks
        (world * B, D).
    """
    shuffled = gather_batches(features)
    everything = torch.empty_like(shuffled)
    everything[order] = shuffled
    mine = everything.view(get_world_size(), -1, features.shape[1])
    return mine[get_rank()], everything
