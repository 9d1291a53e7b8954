"""Lloyd's algorithm over groups of points: the one loop of this package."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ahpcl.core.clustering.plusplus import seed_centroids
from ahpcl.core.clustering.points import identify, unit_rows
from ahpcl.core.clustering.repair import repair_empty
from ahpcl.core.clustering.search import NearestSearch
from ahpcl.core.clustering.segments import (
    Groups,
    distances_to,
    nearest_in_group,
    segment_sum,
)
from ahpcl.core.clustering.shards import ALONE, Shards
from ahpcl.core.seeding import seed_from

__all__ = ['Clustering', 'Lloyd']

# Seeds are drawn from so many points, or so many per cluster, at most.
_SEED_POINTS = 2**16
_SEED_POINTS_PER_CLUSTER = 8


@dataclass(frozen=True, eq=False)
class Clustering:
    """Centroids and what they say about every point.

    Attributes:
        centroids: (K, D) float32.
        assignments: Cluster of every own point, (n,) int64.
        distances: Euclidean distance of every own point to its centroid,
            (n,).
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

    The points may lie in parts on several processes (`shards`): every one
    searches for its own, sums and counts are added up, and what is known of
    every point but its features is gathered where an empty cluster is to be
    repaired. Up to the rounding of the sums the result is that of one
    process.

    Args:
        features: The own points, sorted by group, (n, D) float32, finite.
        groups: Which clusters belong to which points; a single group where
            there are several processes.
        weights: Weight of every point, >= 0, (n,) float32, or None for 1.
        spherical: Whether centroids have length 1.
        search: Of the iterations; only for a single group, as the search
            within groups is torch's. The final assignment is exact float32
            in any case.
        tolerance: Share of the points; an iteration that moves no more of
            them is the last.
        shards: Where the other points are.
    """

    def __init__(
        self,
        features: Tensor,
        groups: Groups,
        *,
        weights: Tensor | None = None,
        spherical: bool = True,
        search: NearestSearch | None = None,
        tolerance: float = 0.0,
        shards: Shards = ALONE,
    ) -> None:
        assert shards is ALONE or groups.num_groups == 1
        self.features = features
        self.groups = groups
        self.spherical = spherical
        self.search = NearestSearch() if search is None else search
        self.shards = shards
        self.num_points = shards.num_points(features)
        self._most_moved = int(tolerance * self.num_points)
        if weights is None:
            weights = features.new_ones(len(features))
            self._weighted = features
        else:
            self._weighted = features * weights[:, None]
        self.weights = weights
        # Of all points, not of the own alone.
        self._ids, eligible = identify(features, spherical, shards)
        self._eligible = eligible & (shards.all_gather(weights) > 0)
        if shards is ALONE:
            self._all_groups = groups
        else:
            self._all_groups = Groups.single(
                self.num_points, groups.num_clusters, features.device
            )

    def num_distinct(self) -> int:
        """Distinct points that can fill a cluster, over all groups."""
        return len(torch.unique(self._ids[self._eligible]))

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
            centroids = self._seeds(generator, start)
            result = self.refine(self._shape(centroids), n_iter)
            cost = self.shards.sum(
                segment_sum(
                    self.weights * result.distances.square(),
                    groups.of_point,
                    groups.num_groups,
                )
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
        known: Tensor | None = None
        iteration = repaired = 0
        while iteration < n_iter:
            iteration += 1
            assignments = self._search(centroids)
            assignments, fixed = self._repair(centroids, assignments)
            repaired += fixed
            if previous is not None:
                moved = self.shards.sum((assignments != previous).sum())
                if int(moved) == 0 and not fixed:
                    # Centroids are the means of these very assignments.
                    known = assignments if self._is_exact() else None
                    break
                if int(moved) <= self._most_moved:
                    centroids = self.means(assignments, centroids)
                    break
            centroids = self.means(assignments, centroids)
            previous = assignments
        return self.settle(
            centroids, n_iter=iteration, num_repaired=repaired, known=known
        )

    def settle(
        self,
        centroids: Tensor,
        *,
        n_iter: int = 0,
        num_repaired: int = 0,
        known: Tensor | None = None,
    ) -> Clustering:
        """Exact assignment to the nearest of given centroids, none empty.

        A repaired cluster has one point for its centroid, and that point
        (with its equals) stays with it, so that every pass settles at least
        one cluster for good.

        Args:
            centroids: (K, D).
            n_iter: Iterations so far.
            num_repaired: Repairs so far.
            known: The exact assignment, (n,), where it is known already.
        """
        centroids = centroids.clone()
        pin = torch.full_like(self._ids, -1)
        while True:
            if known is None:
                assignments = self._search(centroids, exact=True)
            else:
                assignments, known = known, None
            own = self.shards.local(pin)
            assignments = torch.where(own >= 0, own, assignments)
            distances = distances_to(self.features, centroids, assignments)
            if not self._any_empty(assignments):
                break
            empty, donors = repair_empty(
                self.shards.all_gather(assignments),
                torch.where(pin >= 0, -1.0, self.shards.all_gather(distances)),
                self._ids,
                self._eligible,
                self._all_groups,
            )
            if len(empty) == 0:
                break
            points = self.shards.fetch_rows(self.features, donors)
            centroids[empty] = self._shape(points)
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
        total = self.shards.sum(
            segment_sum(self._weighted, assignments, num_clusters)
        )
        mass = self.shards.sum(
            segment_sum(self.weights, assignments, num_clusters)
        )[:, None]
        mean = torch.where(mass > 0, total / mass.clamp(min=1e-30), previous)
        if self.spherical:
            return unit_rows(mean.float(), previous)
        return mean.float()

    def _shape(self, centroids: Tensor) -> Tensor:
        return unit_rows(centroids) if self.spherical else centroids

    def _seeds(
        self, generator: torch.Generator, start: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Centroids to begin with, from all points or a random part."""
        if start is not None and bool(start[1].all()):
            return start[0]
        num_clusters = self.groups.num_clusters
        most = max(_SEED_POINTS, _SEED_POINTS_PER_CLUSTER * num_clusters)
        if self.shards is ALONE and (
            self.groups.num_groups > 1 or self.num_points <= most
        ):
            return seed_centroids(
                self.features, self.groups, self.weights, generator, start
            )
        device = self.features.device
        points = torch.arange(self.num_points)
        if self.num_points > most:
            order = torch.randperm(self.num_points, generator=generator)
            points = order[:most].sort().values
        points = points.to(device)
        weights = self.shards.all_gather(self.weights)[points]
        chosen = seed_centroids(
            self.shards.fetch_rows(self.features, points),
            Groups.single(len(points), num_clusters, device),
            weights,
            generator,
            start,
        )
        return self.shards.broadcast(chosen)

    def _is_exact(self) -> bool:
        groups = self.groups
        return groups.num_groups > 1 or self.search.is_exact(
            self.features.device, groups.num_clusters
        )

    def _search(self, centroids: Tensor, *, exact: bool = False) -> Tensor:
        groups = self.groups
        if groups.num_groups > 1:
            return nearest_in_group(
                self.features,
                centroids,
                groups.of_point,
                groups.starts,
                groups.counts,
            )
        if exact:
            return self.search.exact(self.features, centroids)
        return self.search.find(self.features, centroids, unit=self.spherical)

    def _any_empty(self, assignments: Tensor) -> bool:
        eligible = self.shards.local(self._eligible)
        sizes = torch.bincount(
            assignments[eligible], minlength=self.groups.num_clusters
        )
        return bool((self.shards.sum(sizes) == 0).any())

    def _repair(
        self, centroids: Tensor, assignments: Tensor
    ) -> tuple[Tensor, int]:
        """Assignments without empty clusters, and how many there were."""
        if not self._any_empty(assignments):
            return assignments, 0
        distances = distances_to(self.features, centroids, assignments)
        empty, donors = repair_empty(
            self.shards.all_gather(assignments),
            self.shards.all_gather(distances),
            self._ids,
            self._eligible,
            self._all_groups,
        )
        moved = self.shards.local(self._spread(empty, donors))
        return torch.where(moved >= 0, moved, assignments), len(empty)

    def _spread(self, empty: Tensor, donors: Tensor) -> Tensor:
        """New cluster of every point equal to a donor, else -1, (N,)."""
        num_ids = int(self._ids.max()) + 1
        key = self._all_groups.of_point * num_ids + self._ids
        wanted, order = key[donors].sort()
        if len(wanted) == 0:
            return torch.full_like(key, -1)
        place = torch.searchsorted(wanted, key).clamp(max=len(wanted) - 1)
        return torch.where(wanted[place] == key, empty[order[place]], -1)
