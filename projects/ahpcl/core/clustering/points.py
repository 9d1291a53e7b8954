"""What a k-means is given and what it finds: `Points` and a `Clustering`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ahpcl.core.clustering.rows import (
    distances_to,
    row_hashes,
    segment_sum,
    unit_rows,
)
from ahpcl.core.clustering.shards import ALONE, Shards
from ahpcl.core.inputs import check_features, check_weights

__all__ = ['Clustering', 'Points']


@dataclass(frozen=True, eq=False)
class Clustering:
    """Centroids, and what they say about every point.

    Where the points lie in parts on several processes, assignments and
    distances are those of the own ones, (n,), until they are gathered.

    Attributes:
        centroids: Unit rows if spherical, else means, (K, D) float32.
        assignments: Cluster of every point, (N,) int64.
        distances: Euclidean distance of every point to its centroid, (N,)
            float32.
        objective: Mean squared distance over all N points (weighted, if
            weights were given).
        n_iter: Iterations of the restart that was taken.
        num_repaired: How often a cluster without points was repaired.
        parents: Cluster of the next coarser clustering that every cluster
            belongs to, (K,) int64; None where it belongs to none.
    """

    centroids: Tensor
    assignments: Tensor
    distances: Tensor
    objective: float
    n_iter: int = 0
    num_repaired: int = 0
    parents: Tensor | None = None

    @property
    def num_clusters(self) -> int:
        """K."""
        return len(self.centroids)

    def sizes(self) -> Tensor:
        """Points of every cluster, (K,) int64."""
        return torch.bincount(self.assignments, minlength=self.num_clusters)


class Points:
    """Points to cluster, all in one process or in parts on several.

    Features stay where they are. Sums and counts are added up over the
    processes, and what is known of every point but its features (cluster,
    distance, which points are equal) may be gathered. Where there are several
    processes, the constructor and most methods are collective calls.

    Args:
        features: The own points, (n, D) floating point, any device.
        weights: Weight of every own point, >= 0, (n,), or None for 1.
        spherical: Whether centroids are normalised to length 1. Points are
            then told apart by direction, and one without fills no cluster.
        shards: Where the other points are.

    Attributes:
        features: As given, checked, float32.
        weights: As given, checked, or ones, float32.
        spherical: As given.
        shards: As given.
        count: N, the number of all points.
        ids: A number for every distinct one of all points, (N,) int64.
        eligible: Which of all points can fill a cluster, (N,) bool: those
            with a weight and, if spherical, a direction.

    Raises:
        ValueError: If a shape or type does not fit, or a number is not
            finite.

    Examples:
        >>> points = Points(torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
        >>> points.count, points.num_distinct()
        (2, 1)
    """

    def __init__(
        self,
        features: Tensor,
        weights: Tensor | None = None,
        *,
        spherical: bool = True,
        shards: Shards = ALONE,
    ) -> None:
        features = check_features(features, may_be_empty=shards is not ALONE)
        if weights is None:
            weights = features.new_ones(len(features))
            self._weighted = features
        else:
            weights = check_weights(weights, features)
            self._weighted = features * weights[:, None]
        self.features = features
        self.weights = weights
        self.spherical = spherical
        self.shards = shards
        self.count = shards.num_points(features)
        eligible = weights > 0
        if spherical:
            eligible = eligible & (features.norm(dim=1) > 0)
        hashes = row_hashes(features, by_direction=spherical)
        self.eligible = shards.all_gather(eligible)
        self.ids = torch.unique(
            shards.all_gather(hashes), return_inverse=True
        )[1]

    def num_distinct(self) -> int:
        """Distinct points that can fill a cluster."""
        return len(torch.unique(self.ids[self.eligible]))

    def subset(self, rows: Tensor) -> Points:
        """Some of all points, given by their numbers, ascending, (S,)."""
        own, shards = self.shards.subset(rows.to(self.features.device))
        return Points(
            self.features[own],
            self.weights[own],
            spherical=self.spherical,
            shards=shards,
        )

    def as_centroids(self, rows: Tensor) -> Tensor:
        """Rows (K, D) at length 1 if spherical, else as they are."""
        return unit_rows(rows) if self.spherical else rows

    def means(self, assignments: Tensor, previous: Tensor) -> Tensor:
        """Weighted means (unit ones if spherical) of the clusters, (K, D).

        Args:
            assignments: Cluster of every own point, (n,).
            previous: Centroids, (K, D). A cluster without weight, or whose
                mean has no direction, keeps its previous one.
        """
        total = self.shards.sum(
            segment_sum(self._weighted, assignments, len(previous))
        )
        mass = self.shards.sum(
            segment_sum(self.weights, assignments, len(previous))
        )[:, None]
        mean = torch.where(mass > 0, total / mass.clamp(min=1e-30), previous)
        if self.spherical:
            return unit_rows(mean.float(), previous)
        return mean.float()

    def distances(self, centroids: Tensor, assignments: Tensor) -> Tensor:
        """Euclidean distance of every own point to its centroid, (n,)."""
        return distances_to(self.features, centroids, assignments)

    def clustering(
        self,
        centroids: Tensor,
        assignments: Tensor,
        *,
        n_iter: int = 0,
        num_repaired: int = 0,
    ) -> Clustering:
        """The clustering by these assignments, with distances and objective.

        Args:
            centroids: (K, D).
            assignments: Cluster of every own point, (n,).
            n_iter: Iterations that led there.
            num_repaired: Repairs on the way.
        """
        distances = self.distances(centroids, assignments)
        mass, squared = self.weights.double(), distances.double().square()
        sums = self.shards.sum(
            torch.stack([(squared * mass).sum(), mass.sum()])
        )
        return Clustering(
            centroids,
            assignments,
            distances,
            objective=float(sums[0] / sums[1]),
            n_iter=n_iter,
            num_repaired=num_repaired,
        )
