"""What several processes must agree on."""

import torch
from mmengine.dist import all_gather, all_reduce, get_world_size
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


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
