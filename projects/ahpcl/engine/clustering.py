"""The clustering of the E-step as typed settings."""

from dataclasses import dataclass, replace

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from ahpcl.core import (
    ClusterLadder,
    PrototypeHierarchy,
    build_hierarchy,
    check_hierarchy,
)


@TASK_UTILS.register_module()
@dataclass(frozen=True)
class KMeansClustering:
    """Settings of :func:`ahpcl.core.build_hierarchy`.

    Attributes:
        n_iter: Most iterations of a k-means.
        n_init: Restarts of which the best is taken.
        backend: ``'auto'``, ``'torch'``, ``'faiss'`` or ``'flash'``.
        spherical: Normalise the centroids in every iteration; PCL does not.
        min_points: Warn below so many images per cluster (faiss's meaning).
        max_points: Train on at most so many images per cluster.
        balance: Bound of the cluster sizes, as a factor of N / K; None for
            none.
        min_ratio: Nested rungs must differ by this factor.
        extra_iter_per_doubling: More iterations for every doubling of K.
        alpha: Smoothing of the concentration for small clusters.
        clip: Percentiles to which the concentration is clipped.
        warm_start: Start from the last centroids of the same K.
        concentration: ``'estimated'`` from the distances (PCL, section 3.3),
            or ``'fixed'``: phi is tau for every cluster.

    Raises:
        ValueError: for another ``concentration``.
    """

    n_iter: int = 20
    n_init: int = 5
    backend: str = 'auto'
    spherical: bool = True
    min_points: int | None = None
    max_points: int | None = None
    balance: float | None = None
    min_ratio: float = 1.25
    extra_iter_per_doubling: int = 0
    alpha: float = 10.0
    clip: tuple[float, float] = (10, 90)
    warm_start: bool = False
    concentration: str = 'estimated'

    def __post_init__(self) -> None:
        if self.concentration not in ('estimated', 'fixed'):
            raise ValueError(
                "expected clustering.concentration 'estimated' or 'fixed', "
                f'got {self.concentration!r}'
            )

    def check(
        self,
        ladder: ClusterLadder,
        num_images: int,
        linkage: str,
        device: torch.device,
    ) -> None:
        """Check that every window of a ladder can be clustered.

        Raises:
            ValueError: for an unknown backend, rungs too close for a nested
                linkage, a balance that cannot be had, or numbers out of range.
            ImportError: if the backend is not installed.
        """
        for name in ('n_iter', 'n_init'):
            if getattr(self, name) < 1:
                raise ValueError(
                    f'expected clustering.{name} of at least 1, got '
                    f'{getattr(self, name)}'
                )
        rungs, window = ladder.rungs, ladder.window
        for start in range(len(rungs) - window + 1):
            check_hierarchy(
                rungs[start : start + window],
                num_images,
                linkage=linkage,
                backend=self.backend,
                balance=self.balance,
                min_ratio=self.min_ratio,
                device=device,
            )

    def __call__(
        self,
        features: Tensor,
        num_clusters: tuple[int, ...],
        *,
        linkage: str,
        temperature: float,
        seed: int,
        previous: PrototypeHierarchy | None = None,
    ) -> PrototypeHierarchy:
        """Cluster features (N, D) at every count of ``num_clusters``."""
        init = None
        if self.warm_start and previous is not None:
            init = {
                level.num_clusters: level.centroids.to(features.device)
                for level in previous.levels
                if level.num_clusters in num_clusters
            }
        hierarchy = build_hierarchy(
            features,
            num_clusters,
            linkage=linkage,
            temperature=temperature,
            seed=seed,
            init=init,
            backend=self.backend,
            n_iter=self.n_iter,
            n_init=self.n_init,
            min_points=self.min_points,
            max_points=self.max_points,
            spherical=self.spherical,
            balance=self.balance,
            min_ratio=self.min_ratio,
            extra_iter_per_doubling=self.extra_iter_per_doubling,
            alpha=self.alpha,
            clip=tuple(self.clip),
        )
        if self.concentration == 'estimated':
            return hierarchy
        return PrototypeHierarchy(
            replace(
                level,
                concentration=torch.full_like(
                    level.concentration, temperature
                ),
            )
            for level in hierarchy.levels
        )
