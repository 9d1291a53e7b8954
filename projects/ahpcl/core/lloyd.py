"""Lloyd's algorithm over groups of points: the one loop of this package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ahpcl.core.plusplus import seed_centroids
from ahpcl.core.points import identify, unit_rows
from ahpcl.core.repair import repair_empty
from ahpcl.core.search import nearest
from ahpcl.core.seeding import seed_from
from ahpcl.core.segments import (
    Groups,
    distances_to,
    nearest_in_group,
    segment_sum,
)

__all__ = ['Clustering', 'Lloyd']

Search = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Clustering:
    """Centroids and what they say about every point.

    Attributes:
        centroids: (K, D) float32.
        assignments: Cluster of every point, (N,) int64.
        distances: Euclidean distance of every point to its centroid, (N,).
        n_iter: Iterations that were run, of the slowest group.
        num_repaired: Empty clusters that were repaired on the way.
    """

    centroids: Tensor
    assignments: Tensor
    distances: Tensor
    n_iter: int
    num_repaired: int


class Lloyd:
    """k-means of one set of points, with restarts and repair.

    Args:
        features: Points, sorted by group, (N, D) float32, finite.
        groups: Which clusters belong to which points.
        weights: Weight of every point, >= 0, (N,) float32, or None for 1.
        spherical: Whether centroids have length 1.
        backend: Search backend of the loop; only for a single group, as the
            search within groups is torch's. The final assignment is torch's
            exact one in any case.
    """

    def __init__(
        self,
        features: Tensor,
        groups: Groups,
        *,
        weights: Tensor | None = None,
        spherical: bool = True,
        backend: str = 'auto',
    ) -> None:
        self.features = features
        self.groups = groups
        self.spherical = spherical
        self.backend = backend
        if weights is None:
            weights = features.new_ones(len(features))
            self._weighted = features
        else:
            self._weighted = features * weights[:, None]
        self.weights = weights
        self.ids, self.eligible = identify(features, spherical)
        self.eligible = self.eligible & (weights > 0)

    def num_distinct(self) -> int:
        """Distinct points that can fill a cluster, over all groups."""
        return len(torch.unique(self.ids[self.eligible]))

    def run(
        self,
        *,
        n_iter: int,
        n_init: int,
        seed: int,
        start: tuple[Tensor, Tensor] | None = None,
    ) -> Clustering:
        """The best of `n_init` restarts, chosen for every group by itself.

        Args:
            n_iter: Iterations at most.
            n_init: Restarts.
            seed: Of all draws.
            start: Given centroids, see `seed_centroids`.
        """
        groups = self.groups
        best: Clustering | None = None
        best_cost = best_iter = torch.empty(0)
        repaired = 0
        for restart in range(n_init):
            generator = torch.Generator()
            generator.manual_seed(seed_from(seed, 'kmeans', restart))
            centroids = seed_centroids(
                self.features, groups, self.weights, generator, start
            )
            result = self.refine(self._shape(centroids), n_iter)
            cost = segment_sum(
                self.weights * result.distances.square(),
                groups.of_point,
                groups.num_groups,
            )
            if best is None:
                best, best_cost = result, cost
                best_iter = torch.full_like(groups.counts, result.n_iter)
                repaired = result.num_repaired
                continue
            better = cost < best_cost
            if not bool(better.any()):
                continue
            best_cost = torch.where(better, cost, best_cost)
            best_iter = torch.where(better, result.n_iter, best_iter)
            point, cluster = better[groups.of_point], better[groups.of_cluster]
            if bool(better.all()):
                repaired = result.num_repaired
            else:
                repaired = max(repaired, result.num_repaired)
            best = Clustering(
                torch.where(
                    cluster[:, None], result.centroids, best.centroids
                ),
                torch.where(point, result.assignments, best.assignments),
                torch.where(point, result.distances, best.distances),
                int(best_iter.max()),
                repaired,
            )
        assert best is not None
        return best

    def refine(self, centroids: Tensor, n_iter: int) -> Clustering:
        """Lloyd's iterations from given centroids, then `settle`."""
        previous: Tensor | None = None
        iteration = repaired = 0
        while iteration < n_iter:
            iteration += 1
            assignments = self._search(centroids)
            assignments, fixed = self._repair(centroids, assignments)
            repaired += fixed
            if previous is not None and torch.equal(assignments, previous):
                break
            centroids = self.means(assignments, centroids)
            previous = assignments
        return self.settle(centroids, n_iter=iteration, num_repaired=repaired)

    def settle(
        self, centroids: Tensor, *, n_iter: int = 0, num_repaired: int = 0
    ) -> Clustering:
        """Exact assignment to the nearest of given centroids, none empty.

        A repaired cluster has one point for its centroid, and that point
        (with its equals) stays with it, so that every pass settles at least
        one cluster for good.
        """
        centroids = centroids.clone()
        pin = torch.full_like(self.ids, -1)
        while True:
            assignments = self._search(centroids, exact=True)
            assignments = torch.where(pin >= 0, pin, assignments)
            distances = distances_to(self.features, centroids, assignments)
            empty, donors = repair_empty(
                assignments,
                torch.where(pin >= 0, -1.0, distances),
                self.ids,
                self.eligible,
                self.groups,
            )
            if len(empty) == 0:
                break
            centroids[empty] = self._shape(self.features[donors])
            pin = torch.maximum(pin, self._spread(empty, donors))
            num_repaired += len(empty)
        return Clustering(
            centroids, assignments, distances, n_iter, num_repaired
        )

    def means(self, assignments: Tensor, previous: Tensor) -> Tensor:
        """Weighted means (unit ones if spherical) of the clusters.

        A cluster without weight, or whose mean has no direction, keeps its
        previous centroid.
        """
        num_clusters = self.groups.num_clusters
        total = segment_sum(self._weighted, assignments, num_clusters)
        mass = segment_sum(self.weights, assignments, num_clusters)[:, None]
        mean = torch.where(mass > 0, total / mass.clamp(min=1e-30), previous)
        if self.spherical:
            return unit_rows(mean.float(), previous)
        return mean.float()

    def _shape(self, centroids: Tensor) -> Tensor:
        return unit_rows(centroids) if self.spherical else centroids

    def _search(self, centroids: Tensor, *, exact: bool = False) -> Tensor:
        groups = self.groups
        if groups.num_groups == 1:
            backend = 'torch' if exact else self.backend
            return nearest(self.features, centroids, backend=backend)
        return nearest_in_group(
            self.features,
            centroids,
            groups.of_point,
            groups.starts,
            groups.counts,
        )

    def _repair(
        self, centroids: Tensor, assignments: Tensor
    ) -> tuple[Tensor, int]:
        """Assignments without empty clusters, and how many there were."""
        sizes = torch.bincount(
            assignments[self.eligible], minlength=self.groups.num_clusters
        )
        if bool((sizes > 0).all()):
            return assignments, 0
        distances = distances_to(self.features, centroids, assignments)
        empty, donors = repair_empty(
            assignments, distances, self.ids, self.eligible, self.groups
        )
        moved = self._spread(empty, donors)
        return torch.where(moved >= 0, moved, assignments), len(empty)

    def _spread(self, empty: Tensor, donors: Tensor) -> Tensor:
        """New cluster of every point equal to a donor, else -1, (N,)."""
        num_ids = int(self.ids.max()) + 1
        key = self.groups.of_point * num_ids + self.ids
        wanted, order = key[donors].sort()
        if len(wanted) == 0:
            return torch.full_like(key, -1)
        place = torch.searchsorted(wanted, key).clamp(max=len(wanted) - 1)
        return torch.where(wanted[place] == key, empty[order[place]], -1)
