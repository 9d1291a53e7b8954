"""Spherical k-means, the clustering of the E-step."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from ahpcl.core.clustering.balance import balanced_clustering, check_balance
from ahpcl.core.clustering.lloyd import Clustering, Lloyd
from ahpcl.core.clustering.search import NearestSearch, resolve_backend
from ahpcl.core.clustering.segments import Groups
from ahpcl.core.clustering.shards import ALONE, Shards
from ahpcl.core.inputs import check_features, check_init
from ahpcl.core.seeding import seed_from

__all__ = ['KMeansResult', 'spherical_kmeans']


@dataclass(frozen=True, eq=False)
class KMeansResult:
    """What `spherical_kmeans` found.

    Attributes:
        centroids: Unit rows if spherical, else means, (K, D) float32.
        assignments: Cluster of every point, (N,) int64.
        distances: Euclidean distance of every point to its centroid, (N,)
            float32.
        objective: Mean squared distance over all N (weighted, if weights
            were given).
        n_iter: Iterations of the best restart.
        num_repaired: How often a cluster without points was repaired.
    """

    centroids: Tensor
    assignments: Tensor
    distances: Tensor
    objective: float
    n_iter: int
    num_repaired: int

    @property
    def num_clusters(self) -> int:
        """K."""
        return len(self.centroids)


def spherical_kmeans(
    features: Tensor,
    num_clusters: int,
    *,
    n_iter: int = 20,
    n_init: int = 5,
    seed: int = 0,
    init: Tensor | None = None,
    backend: str = 'auto',
    min_points: int | None = None,
    max_points: int | None = None,
    spherical: bool = True,
    weights: Tensor | None = None,
    balance: float | None = None,
    precision: str = 'auto',
    chunk_mib: float | None = None,
    tolerance: float = 0.0,
    shards: Shards = ALONE,
) -> KMeansResult:
    """Cluster points by cosine (or plainly, with `spherical=False`).

    Lloyd's algorithm from k-means++ seeds; the restart of the lowest
    objective wins. Clusters that lose their points are repaired in every
    iteration and at the end, so that none is empty where K distinct points
    exist. With fewer distinct points than K (a collapsed encoder) there is
    a warning, every distinct point has a cluster, and the rest are empty
    honestly. The result depends on the arguments alone: no global random
    state is read or changed.

    Rows are expected to be normalised and are not rescaled. In spherical
    mode points count as distinct by direction, and a row of zeros is at
    distance 1 from every centroid: it belongs to any cluster, fills none,
    and a cluster whose mean has no direction keeps its previous centroid
    (the first axis, if it never had one).

    Args:
        features: Points, (N, D) floating point, on any device. Computed in
            float32.
        num_clusters: K, from 1 to N.
        n_iter: Iterations at most; fewer where assignments settle.
        n_init: Restarts.
        seed: Of all draws.
        init: Centroids to begin with, (K, D); there is one restart then.
        backend: Search backend of the iterations, see
            `ahpcl.core.clustering.search`. The final assignment is exact
            float32.
        min_points: Warn if there are fewer points per centroid.
        max_points: With more points per centroid, the centroids are learnt
            from a random subset of K * max_points, and all points are
            assigned to them.
        spherical: Whether centroids are normalised to length 1.
        weights: Weight of every point in means and objective, >= 0, (N,).
            Points of weight 0 do not count as filling a cluster.
        balance: Factor >= 1; every size is then within
            [floor(N / K / balance), ceil(N / K * balance)], and a point need
            not be in its nearest cluster. None for no bound. See
            `ahpcl.core.clustering.balance`.
        precision: Of the products in the iterations, see
            `ahpcl.core.clustering.search.NearestSearch`.
        chunk_mib: Memory for scores, in MiB, see there.
        tolerance: Share of the points, 0 to below 1; an iteration that moves
            no more of them is the last.
        shards: Where the other points are, if the features are a part of
            them: all processes call this at once, with equal arguments but
            for features and weights. N is then the number of all points,
            and assignments and distances are those of the own ones. Not
            together with `balance`.

    Returns:
        The clustering, on the device of the features.

    Raises:
        ValueError: If a shape, type or number does not fit, K > N, or the
            features are not finite.
        ImportError: If the backend's library is not installed.
    """
    features = check_features(features, may_be_empty=shards is not ALONE)
    num_points = shards.num_points(features)
    _check_numbers(num_clusters, num_points, n_iter, n_init, tolerance)
    resolve_backend(backend, features.device, num_clusters)
    search = NearestSearch(backend, precision, chunk_mib)
    weights = _check_weights(weights, features, balance)
    check_balance(balance)
    if balance is not None and shards is not ALONE:
        raise ValueError(
            f'expected balance=None with features in parts, got {balance}: '
            f'bounded sizes need all points in one process'
        )
    subset = _training_subset(
        num_points, num_clusters, seed, min_points, max_points
    )
    start = None
    if init is not None:
        init = check_init(init, num_clusters, features)
        given = torch.ones(
            num_clusters, dtype=torch.bool, device=features.device
        )
        start, n_init = (init, given), 1

    def lloyd(
        chosen: Tensor, mass: Tensor | None, parts: Shards = shards
    ) -> Lloyd:
        groups = Groups.single(len(chosen), num_clusters, features.device)
        return Lloyd(
            chosen,
            groups,
            weights=mass,
            spherical=spherical,
            search=search,
            tolerance=tolerance,
            shards=parts,
        )

    everything = lloyd(features, weights)
    distinct = everything.num_distinct()
    if distinct < num_clusters:
        warnings.warn(
            f'only {distinct} distinct points for {num_clusters} clusters: '
            f'{num_clusters - distinct} of them stay empty; the features '
            f'may have collapsed',
            stacklevel=2,
        )
    # A part may lack some of the few points that there are.
    if subset is None or distinct <= num_clusters:
        found = everything.run(
            n_iter=n_iter, n_init=n_init, seed=seed, start=start
        )
    else:
        rows, parts = shards.subset(subset.to(features.device))
        mass = None if weights is None else weights[rows]
        learnt = lloyd(features[rows], mass, parts).run(
            n_iter=n_iter, n_init=n_init, seed=seed, start=start
        )
        found = everything.settle(
            learnt.centroids,
            n_iter=learnt.n_iter,
            num_repaired=learnt.num_repaired,
        )
    if balance is not None:
        found = balanced_clustering(everything, found, balance)
    return _result(found, everything.weights, shards)


def _check_numbers(
    num_clusters: int,
    num_points: int,
    n_iter: int,
    n_init: int,
    tolerance: float,
) -> None:
    if not 1 <= num_clusters <= num_points:
        raise ValueError(
            f'expected 1 <= num_clusters <= {num_points} (the number of '
            f'points), got {num_clusters}'
        )
    if n_iter < 1 or n_init < 1:
        raise ValueError(
            f'expected n_iter >= 1 and n_init >= 1, got {n_iter} and {n_init}'
        )
    if not 0 <= tolerance < 1:
        raise ValueError(
            f'expected tolerance as a share of the points, 0 to below 1, got '
            f'{tolerance}'
        )


def _check_weights(
    weights: Tensor | None, features: Tensor, balance: float | None
) -> Tensor | None:
    if weights is None:
        return None
    if balance is not None:
        raise ValueError(
            'expected either weights or balance: sizes in points can not be '
            'bounded for weighted points'
        )
    if weights.shape != features.shape[:1]:
        raise ValueError(
            f'expected weights of shape ({len(features)},), got '
            f'{tuple(weights.shape)}'
        )
    weights = weights.detach().to(features.device, torch.float32)
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise ValueError('expected finite weights >= 0')
    if not bool((weights > 0).any()) and len(weights) > 0:
        raise ValueError('expected a weight above 0, got only zeros')
    return weights


def _training_subset(
    num_points: int,
    num_clusters: int,
    seed: int,
    min_points: int | None,
    max_points: int | None,
) -> Tensor | None:
    """Rows to learn the centroids from, ascending; None for all."""
    if min_points is not None and num_points < num_clusters * min_points:
        warnings.warn(
            f'{num_points} points for {num_clusters} clusters are fewer than '
            f'min_points={min_points} per cluster',
            stacklevel=3,
        )
    if max_points is None:
        return None
    if max_points < 1:
        raise ValueError(
            f'expected max_points >= 1, or None, got {max_points}'
        )
    size = num_clusters * max_points
    if size >= num_points:
        return None
    generator = torch.Generator().manual_seed(seed_from(seed, 'subset'))
    order = torch.randperm(num_points, generator=generator)
    return order[:size].sort().values


def _result(
    found: Clustering, weights: Tensor, shards: Shards
) -> KMeansResult:
    mass = weights.double()
    squared = found.distances.double().square()
    sums = shards.sum(torch.stack([(squared * mass).sum(), mass.sum()]))
    return KMeansResult(
        centroids=found.centroids,
        assignments=found.assignments,
        distances=found.distances,
        objective=float(sums[0] / sums[1]),
        n_iter=found.n_iter,
        num_repaired=found.num_repaired,
    )
