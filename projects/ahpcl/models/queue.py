"""The queue of negative keys."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureQueue(nn.Module):
    """First in, first out, of any length and for any batch size.

    The queue of MoCo (He et al., CVPR 2020, algorithm 1) without its
    condition that the length be a multiple of the batch. It starts with
    random unit columns. Features and the write position are buffers.

    A step may compute with ``features`` itself, without a copy: new keys go
    into a second tensor, which takes its place, so that the backward pass of
    the last step still finds what its forward pass saw. (That of the step
    before does not, and torch says so.) The second tensor lags by one step
    and catches up with the next, for which the keys of one batch are written
    twice instead of Q copied once.

    Args:
        feat_dim: Feature dimension D.
        length: Number of keys Q kept.
        seed: Seed of the random start; the global random state stays as is.

    Raises:
        ValueError: if ``feat_dim`` or ``length`` is not positive.
    """

    features: Tensor
    position: Tensor

    def __init__(self, feat_dim: int, length: int, seed: int = 0) -> None:
        super().__init__()
        if feat_dim < 1 or length < 1:
            raise ValueError(
                'expected a queue of at least one key of at least one '
                f'dimension, got queue_len={length}, feat_dim={feat_dim}'
            )
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(feat_dim, length, generator=generator)
        self.register_buffer('features', F.normalize(start, dim=0))
        self.register_buffer('position', torch.zeros(1, dtype=torch.long))
        self._forget_spare()

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
        spare = self._spare
        if spare is None or self._seen != self._state():
            spare = self.features.clone()
        else:
            spare.index_copy_(1, *self._behind)
        spare.index_copy_(1, columns, rows)
        self._spare = self.features
        self.features = spare
        self._behind = (columns, rows)
        self._seen = self._state()
        self.position.add_(batch).remainder_(length)

    def _state(self) -> tuple[int, int, int]:
        """Differs once somebody else has written to one of the tensors."""
        assert self._spare is not None
        return id(self.features), self.features._version, self._spare._version

    def _forget_spare(self) -> None:
        self._spare: Tensor | None = None
        self._behind: tuple[Tensor, Tensor] = (torch.empty(0),) * 2
        self._seen: tuple[int, int, int] | None = None

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> 'FeatureQueue':
        self._forget_spare()
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict:
        """For copies of the module, which do not share the second tensor."""
        state = self.__dict__.copy()
        state.update(_spare=None, _seen=None, _behind=(torch.empty(0),) * 2)
        return state
