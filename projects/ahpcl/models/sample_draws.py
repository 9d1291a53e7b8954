"""Random numbers that belong to a sample, for many samples at once."""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 2**64 / golden ratio, as int64
_MIX_1 = -4658895280553007687
_MIX_2 = -7723592293110705685


class SampleDraws:
    """Numbers from (seed, epoch, sample, view) and a counter.

    A counter-based generator: the finaliser of SplitMix64 (Steele, Lea and
    Flood, OOPSLA 2014) over the key and the place of a number. A number is
    the same in any batch, order and process, and no state is kept beside how
    many were drawn. Computed on the CPU, so that every device gets the same
    and none is waited for.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        samples: ``sample_idx``, (B,) int64 on the CPU.
        view: Number of the view.
    """

    def __init__(
        self, seed: int, epoch: int, samples: Tensor, view: int
    ) -> None:
        key = torch.full_like(samples, seed)
        for part in (epoch, view):
            key = _mix(key + _GOLDEN) ^ part
        self._key = _mix(_mix(key + _GOLDEN) ^ samples)
        self._drawn = 0

    def __len__(self) -> int:
        return len(self._key)

    def uniform(
        self, count: int, low: float = 0.0, high: float = 1.0
    ) -> Tensor:
        """Numbers in [low, high).

        Args:
            count: How many for every sample.
            low: Least.
            high: Bound.

        Returns:
            (B, count) float64.
        """
        place = torch.arange(self._drawn, self._drawn + count) + 1
        self._drawn += count
        bits = _mix(self._key[:, None] + place * _GOLDEN)
        unit = _shifted(bits, 11).double() * 2.0**-53
        return low + (high - low) * unit

    def below(self, bound: Tensor) -> Tensor:
        """A whole number from 0 to below a bound of every sample, (B,)."""
        found = (self.uniform(1)[:, 0] * bound).floor().long()
        return torch.minimum(found, bound - 1)

    def chance(self, probability: float) -> Tensor:
        """Whether something happens to a sample, (B,) bool."""
        return self.uniform(1)[:, 0] < probability


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shifted(bits, 30)) * _MIX_1
    bits = (bits ^ _shifted(bits, 27)) * _MIX_2
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Right by some bits, zeros from the left, as of unsigned numbers."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
