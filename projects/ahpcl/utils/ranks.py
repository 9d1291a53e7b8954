"""What several processes must agree on, and the model that they share."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from mmengine.dist import (
    all_gather,
    all_reduce,
    broadcast_object_list,
    get_rank,
    get_world_size,
)
from mmengine.model import is_model_wrapper
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

T = TypeVar('T')


def on_rank_0(
    work: Callable[[], T], name: str, patience: timedelta | None = None
) -> T:
    """Work on rank 0 and hand the result to all; a collective call.

    Args:
        work: Gives tensors on the CPU and plain values.
        name: Name of the work, for the message.
        patience: How long the other ranks wait, on the CPU and in a group of
            their own; None for as long as the usual group waits, which gives
            up after some minutes.

    Returns:
        What it gave, on every rank.

    Raises:
        RuntimeError: on the other ranks, if it failed on rank 0, which
            raises what happened.
    """
    answer: list[Any] = [None, None]
    error: Exception | None = None
    if get_rank() == 0:
        try:
            answer[0] = work()
        except Exception as caught:
            # The other ranks wait below: tell them, then raise here.
            error, answer[1] = caught, repr(caught)
    if patience is None or get_world_size() == 1:
        broadcast_object_list(answer)
    else:
        group = distributed.new_group(backend='gloo', timeout=patience)
        distributed.broadcast_object_list(answer, src=0, group=group)
        distributed.destroy_process_group(group)
    if error is not None:
        raise error
    if answer[1] is not None:
        raise RuntimeError(f'{name} failed on rank 0: {answer[1]}')
    return answer[0]


def unwrap(model: nn.Module) -> nn.Module:
    """The algorithm inside a parallel wrapper, or the model itself."""
    return model.module if is_model_wrapper(model) else model


@torch.no_grad()
def sync_batch_norm_stats(model: nn.Module) -> None:
    """Average the running statistics of batch norm over the ranks.

    Every rank tracks its own in training. Without this, features extracted in
    shards, and the checkpoint of rank 0, would depend on the rank.
    """
    if get_world_size() == 1:
        return
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            all_reduce(module.running_mean, 'mean')
            all_reduce(module.running_var, 'mean')


def gather_rows(indices: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Concatenate the rows of all ranks, which may differ in number.

    Args:
        indices: (n,) non-negative index of every row.
        rows: (n, D).

    Returns:
        The indices and the rows of all ranks, in rank order.
    """
    if get_world_size() == 1:
        return indices, rows
    count = torch.tensor([len(indices)], device=indices.device)
    longest = int(torch.stack(all_gather(count)).max())
    padded_indices = indices.new_full((longest,), -1)
    padded_indices[: len(indices)] = indices
    padded_rows = rows.new_zeros(longest, rows.shape[1])
    padded_rows[: len(rows)] = rows
    all_indices = torch.cat(all_gather(padded_indices))
    all_rows = torch.cat(all_gather(padded_rows))
    valid = all_indices >= 0
    return all_indices[valid], all_rows[valid]
