"""The options of a k-means, and of the hierarchies that are made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ahpcl.core.validation import whole_number

__all__ = ['BACKENDS', 'PRECISIONS', 'KMeansSettings', 'check_balance']

BACKENDS = ('torch', 'superkmeans', 'faiss', 'flash')
PRECISIONS = ('auto', 'float32', 'float16', 'bfloat16')


@dataclass(frozen=True)
class KMeansSettings:
    """How clusters are sought; made once, checked once, passed down whole.

    Attributes:
        n_iter: Most iterations of a restart. In a hierarchy they are those
            of its smallest count.
        n_init: Restarts, of which the one of the lowest objective is taken.
            A k-means that starts from given centroids has one.
        backend: Library of the nearest-centroid search, `'auto'` or one of
            `BACKENDS`, see `ahpcl.core.clustering.search`. The last
            assignment is made by torch in float32 in any case.
        precision: Number format of the products in the iterations of the
            torch backend, one of `PRECISIONS`. `'auto'` is float16 for unit
            rows on CUDA (bfloat16's speed with three bits more, and no range
            to run out of), else float32: on CPUs without matrix instructions
            bfloat16 was half as fast.
        chunk_mib: Memory for the block of scores that is computed at once,
            in MiB, beside the features; None for what fits the caches of a
            CPU (4), and 256 on other devices.
        tolerance: Share of the points, 0 to below 1. An iteration that moves
            no more of them to another cluster is the last.
        spherical: Whether centroids are normalised to length 1. If not,
            distances are to the means, and a hierarchy holds the normalised
            means: PCL's clustering.
        min_points: A warning is given below so many points per cluster
            (faiss's meaning); None for never. Like `max_points` and
            `balance` it concerns the clustering of images, not that of
            centroids, nor splits within a parent.
        max_points: With more points per cluster the centroids are learnt
            from a random subset of K * max_points points, and all points are
            assigned to them; None for never.
        balance: Factor >= 1 that bounds the cluster sizes to
            [floor(N / K / balance), ceil(N / K * balance)]; a point then
            need not be in its nearest cluster. None for no bound.
        min_ratio: Neighbouring counts of a nested hierarchy must differ by
            this factor, >= 1.
        extra_iter_per_doubling: A hierarchy adds so many iterations for
            every doubling of a count over its smallest.
        warm_iter: Most iterations of a level that a hierarchy starts from
            given centroids; None for as many as of any other.
        alpha: Smoothing of the concentration of small clusters, see
            `ahpcl.core.concentration`.

    Raises:
        ValueError: If a number is out of range or a name is unknown.

    Examples:
        >>> settings = KMeansSettings(n_init=1, max_points=256)
        >>> settings.for_level(3200, smallest=100, warm=True).n_iter
        3
    """

    n_iter: int = 20
    n_init: int = 5
    backend: str = 'auto'
    precision: str = 'auto'
    chunk_mib: float | None = None
    tolerance: float = 0.0
    spherical: bool = True
    min_points: int | None = None
    max_points: int | None = None
    balance: float | None = None
    min_ratio: float = 1.25
    extra_iter_per_doubling: int = 0
    warm_iter: int | None = 3
    alpha: float = 10.0

    def __post_init__(self) -> None:
        for name in ('n_iter', 'n_init'):
            whole_number(getattr(self, name), name, least=1)
        for name in ('max_points', 'warm_iter'):
            if getattr(self, name) is not None:
                whole_number(getattr(self, name), f'{name}, or None,', least=1)
        whole_number(
            self.extra_iter_per_doubling, 'extra_iter_per_doubling', least=0
        )
        for name, known in (
            ('backend', ('auto', *BACKENDS)),
            ('precision', PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f'expected {name} to be one of {known}, got '
                    f'{getattr(self, name)!r}'
                )
        if self.chunk_mib is not None and not self.chunk_mib >= 1:
            raise ValueError(
                f'expected chunk_mib of at least 1 (MiB), or None, got '
                f'{self.chunk_mib}'
            )
        if not 0 <= self.tolerance < 1:
            raise ValueError(
                f'expected tolerance as a share of the points, 0 to below 1, '
                f'got {self.tolerance}'
            )
        check_balance(self.balance)
        if not self.min_ratio >= 1:
            raise ValueError(f'expected min_ratio >= 1, got {self.min_ratio}')
        if not self.alpha > 0:
            raise ValueError(f'expected alpha > 0, got {self.alpha}')

    def for_level(
        self, num_clusters: int, *, smallest: int, warm: bool
    ) -> KMeansSettings:
        """The settings of one level of a hierarchy.

        Args:
            num_clusters: Count of the level.
            smallest: The smallest count of the hierarchy.
            warm: Whether the level starts from given centroids.
        """
        doublings = math.log2(num_clusters / smallest)
        n_iter = self.n_iter + round(self.extra_iter_per_doubling * doublings)
        if warm and self.warm_iter is not None:
            n_iter = min(n_iter, self.warm_iter)
        return replace(self, n_iter=n_iter)

    def for_centroids(self) -> KMeansSettings:
        """The settings where the points are centroids instead of images."""
        return replace(self, min_points=None, max_points=None, balance=None)


def check_balance(balance: float | None) -> None:
    """Refuse a bound of cluster sizes that cannot be met.

    Raises:
        ValueError: If it is below 1 or not finite.

    Examples:
        >>> check_balance(1.5), check_balance(None)
        (None, None)
    """
    if balance is not None and not (math.isfinite(balance) and balance >= 1):
        raise ValueError(
            f'expected balance >= 1 (1: equal sizes; 2: half to twice the '
            f'mean size), or None for no bound, got {balance}'
        )
