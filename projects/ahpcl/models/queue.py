"""The queue of negative keys."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureQueue(nn.Module):
    """First in, first out, of any length and for any batch size.

    The queue of MoCo (He et al., CVPR 2020, algorithm 1) without its
    condition that the length be a multiple of the batch. It starts with
    random unit columns, the same in every process. Features and the write
    position are buffers.

    New keys make a new tensor, so that the backward pass of a step still finds
    what its forward pass saw.

    Args:
        feat_dim: Feature dimension D.
        length: Number of keys Q kept.

    Raises:
        ValueError: if ``feat_dim`` or ``length`` is not positive.
    """

    features: Tensor
    position: Tensor

    def __init__(self, feat_dim: int, length: int) -> None:
        super().__init__()
        if feat_dim < 1 or length < 1:
            raise ValueError(
                'expected a queue of at least one key of at least one '
                f'dimension, got queue_len={length}, feat_dim={feat_dim}'
            )
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(feat_dim, length, generator=generator)
        self.register_buffer('features', F.normalize(start, dim=0))
        self.register_buffer('position', torch.zeros(1, dtype=torch.long))

    def __len__(self) -> int:
        return self.features.shape[1]

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Write ``keys`` (B, D) over the oldest ones.

        Where B exceeds Q, the last Q keys remain.
        """
        length, batch = len(self), len(keys)
        skipped = max(batch - length, 0)
        columns = torch.arange(skipped, batch, device=keys.device)
        columns = (columns + self.position) % length
        rows = keys[skipped:].to(self.features.dtype).t()
        self.features = self.features.index_copy(1, columns, rows)
        self.position.add_(batch).remainder_(length)
