"""Points that lie in parts on several processes, clustered as one set."""

from __future__ import annotations

from torch import Tensor

__all__ = ['ALONE', 'Shards']


class Shards:
    """How the parts act as one set; here one process has everything.

    What is known of every point (cluster, distance, a number) is small and
    may be gathered; the features are not, and stay where they are. Points
    are numbered 0 ... N - 1 over all processes, and a process holds those of
    its own in ascending order. A subclass that talks to others overrides
    all methods; each is then a collective call, and all processes get the
    same answer, bit by bit.
    """

    def num_points(self, features: Tensor) -> int:
        """N, given the own rows (n, D)."""
        return len(features)

    def sum(self, values: Tensor) -> Tensor:
        """Sum of a tensor of one shape over the processes."""
        return values

    def all_gather(self, values: Tensor) -> Tensor:
        """A value of every own point, (n,), of all points, (N,)."""
        return values

    def local(self, values: Tensor) -> Tensor:
        """Those of the own points, (n,), of a value of all points, (N,)."""
        return values

    def broadcast(self, values: Tensor) -> Tensor:
        """What the first process has, on all of them."""
        return values

    def fetch_rows(self, features: Tensor, points: Tensor) -> Tensor:
        """Features (S, D) of some of all points, (S,), given the own ones."""
        return features[points]

    def subset(self, points: Tensor) -> tuple[Tensor, Shards]:
        """Some of all points, as a set of its own.

        Args:
            points: Ascending, (S,) int64.

        Returns:
            Places of the chosen own points among the own ones, and the parts
            of the smaller set.
        """
        return points, self


ALONE = Shards()
