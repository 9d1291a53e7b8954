"""Features that stay on the rank that extracted them."""

from __future__ import annotations

import torch
from mmengine import dist
from torch import Tensor

from ahpcl.core.clustering.shards import ALONE, Shards


class RankShards(Shards):
    """The parts of a set on the ranks of `torch.distributed`.

    Args:
        indices: Indices of the own points among all, ascending, (n,) int64;
            every point belongs to one rank.
        num_points: N.
    """

    def __init__(self, indices: Tensor, num_points: int) -> None:
        self._indices = indices
        self._num_points = num_points
        count = torch.tensor([len(indices)], device=indices.device)
        self._counts = torch.cat(dist.all_gather(count)).tolist()
        self._order = self._gather(indices)

    def num_points(self, features: Tensor) -> int:
        """N."""
        return self._num_points

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the ranks."""
        total = values.clone()
        dist.all_reduce(total, 'sum')
        return total

    def all_gather(self, values: Tensor) -> Tensor:
        """A value of every own point, (n,), of all points, (N,)."""
        found = values.new_empty(self._num_points)
        found[self._order] = self._gather(values)
        return found

    def local(self, values: Tensor) -> Tensor:
        """Those of the own points, (n,), of a value of all points, (N,)."""
        return values[self._indices]

    def broadcast(self, values: Tensor) -> Tensor:
        """What rank 0 has."""
        found = values.clone()
        dist.broadcast(found, 0)
        return found

    def fetch_rows(self, features: Tensor, points: Tensor) -> Tensor:
        """Features (S, D) of some of all points, (S,)."""
        found = features.new_zeros(len(points), features.shape[1])
        place, mine = _look_up(points, self._indices)
        found[mine] = features[place[mine]]
        return self.sum(found)

    def subset(self, points: Tensor) -> tuple[Tensor, Shards]:
        """Places of the chosen own points, and parts of the smaller set."""
        place, mine = _look_up(self._indices, points)
        chosen = mine.nonzero().squeeze(1)
        return chosen, RankShards(place[chosen], len(points))

    def _gather(self, values: Tensor) -> Tensor:
        """Values of the own points of all ranks, in rank order, (N,)."""
        padded = values.new_zeros(max(self._counts))
        padded[: len(values)] = values
        if values.dtype == torch.bool:
            padded = padded.to(torch.uint8)
        parts = dist.all_gather(padded)
        found = torch.cat(
            [part[:n] for part, n in zip(parts, self._counts, strict=True)]
        )
        return found.to(values.dtype)


def rank_shards(indices: Tensor, num_points: int) -> Shards:
    """The parts on all ranks, of one process where there is one."""
    if dist.get_world_size() == 1:
        return ALONE
    return RankShards(indices, num_points)


def _look_up(wanted: Tensor, ascending: Tensor) -> tuple[Tensor, Tensor]:
    """Places of numbers in an ascending list, and which of them are in it."""
    if len(ascending) == 0:
        return torch.zeros_like(wanted), torch.zeros_like(wanted).bool()
    place = torch.searchsorted(ascending, wanted)
    place = place.clamp(max=len(ascending) - 1)
    return place, ascending[place] == wanted
