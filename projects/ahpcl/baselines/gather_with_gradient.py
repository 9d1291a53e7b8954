"""Rows of all ranks through which the gradient flows back completely."""

from typing import Any

import torch
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from torch import Tensor


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, ...]:
        return tuple(all_gather(rows.contiguous()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every rank has a loss, and each of them reads the rows of this one.
        everything = torch.stack(gradients)
        all_reduce(everything, 'sum')
        return everything[get_rank()]


def gather_with_gradient(rows: Tensor) -> Tensor:
    """The rows of all ranks as one tensor, for a loss over all of them.

    The gradient of ``rows`` is that of the sum of all ranks' losses. With a
    loss that is the same on every rank, and the gradients averaged over the
    ranks as parallel training does, the result is the gradient of one process
    with the whole batch. (The host's ``GatherLayer`` keeps only the part of
    its own rank's loss, which makes that gradient too small by the number of
    ranks.)

    Args:
        rows: (n, ...) of this rank; n is the same on every rank.

    Returns:
        (world * n, ...) in rank order, the same on every rank.
    """
    if get_world_size() == 1:
        return rows
    return torch.cat(_GatherWithGradient.apply(rows))
