"""The clustering of the E-step as typed settings."""

import logging
from dataclasses import dataclass, replace

import torch
from mmengine.logging import print_log
from mmengine.registry import TASK_UTILS
from torch import Tensor

from ahpcl.core import (
    ClusterLadder,
    PrototypeHierarchy,
    build_hierarchy,
    check_hierarchy,
)
from ahpcl.core.clustering.identity import keep_identities
from ahpcl.core.clustering.search import NearestSearch, resolve_backend
from ahpcl.core.clustering.shards import ALONE, Shards


@TASK_UTILS.register_module()
@dataclass(frozen=True)
class KMeansClustering:
    """Settings of :func:`ahpcl.core.build_hierarchy`.

    Attributes:
        n_iter: Most iterations of a k-means.
        n_init: Restarts of which the best is taken.
        backend: ``'auto'``, ``'torch'``, ``'superkmeans'``, ``'faiss'`` or
            ``'flash'``. If its library is gone in mid-run, torch goes on.
        precision: Of the products in the iterations: ``'auto'``,
            ``'float32'``, ``'float16'`` or ``'bfloat16'``; the last
            assignment is exact float32.
        chunk_mib: Memory for scores in MiB, beside the features; None for
            4 on a CPU and 256 elsewhere.
        tolerance: Share of the images; an iteration that moves no more of
            them to another cluster is the last.
        spherical: Normalise the centroids in every iteration; PCL does not.
        min_points: Warn below so many images per cluster (faiss's meaning).
        max_points: Train on at most so many images per cluster.
        balance: Bound of the cluster sizes, as a factor of N / K; None for
            none.
        min_ratio: Nested rungs must differ by this factor.
        extra_iter_per_doubling: More iterations for every doubling of K.
        alpha: Smoothing of the concentration for small clusters.
        clip: Percentiles to which the concentration is clipped.
        warm_start: Start from the last centroids of the same K. A rung that
            is new in the window starts anew, and so does the whole window
            every ``restart_every`` epochs.
        warm_iter: Most iterations of a warm start; None for ``n_iter``.
        restart_every: Epochs between full starts, with ``warm_start``; None
            for never.
        concentration: ``'estimated'`` from the distances (PCL, section 3.3),
            or ``'fixed'``: phi is tau for every cluster.

    Raises:
        ValueError: for another ``concentration``, or numbers out of range.
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
    warm_iter: int | None = 3
    restart_every: int | None = 10
    precision: str = 'auto'
    chunk_mib: float | None = None
    tolerance: float = 0.0
    concentration: str = 'estimated'

    def __post_init__(self) -> None:
        if self.concentration not in ('estimated', 'fixed'):
            raise ValueError(
                "expected clustering.concentration 'estimated' or 'fixed', "
                f'got {self.concentration!r}'
            )
        for name in ('warm_iter', 'restart_every'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(
                    f'expected clustering.{name} of at least 1, or None, got '
                    f'{value}'
                )
        if not 0 <= self.tolerance < 1:
            raise ValueError(
                'expected clustering.tolerance as a share of the images, 0 '
                f'to below 1, got {self.tolerance}'
            )
        NearestSearch('auto', self.precision, self.chunk_mib)  # checks them

    def supports_sharding(self, linkage: str) -> bool:
        """Whether the features may stay on the ranks that have them."""
        return linkage != 'divisive' and self.balance is None

    def is_cold_start(self, epoch: int) -> bool:
        """Whether the E-step of an epoch, from 0, takes no warm start."""
        if not self.warm_start:
            return True
        every = self.restart_every
        return every is not None and epoch % every == 0

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
        epoch: int | None = None,
        shards: Shards = ALONE,
    ) -> PrototypeHierarchy:
        """Cluster features at every count of ``num_clusters``.

        Args:
            features: (N, D), or the own ones, (n, D).
            num_clusters: The rungs in use.
            linkage: See :func:`ahpcl.core.build_hierarchy`.
            temperature: See there.
            seed: See there.
            previous: The last hierarchy, whose clusters these continue.
            epoch: From 0, see ``restart_every``; None for a warm start
                wherever one is possible.
            shards: Where the other features are.
        """
        init = {}
        anew = not self.warm_start
        if epoch is not None:
            anew = self.is_cold_start(epoch)
        if not anew and previous is not None:
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
            backend=self._backend(features.device),
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
            precision=self.precision,
            chunk_mib=self.chunk_mib,
            tolerance=self.tolerance,
            warm_iter=self.warm_iter,
            shards=shards,
        )
        if previous is not None:
            cold = set(num_clusters) - set(init)
            hierarchy = keep_identities(hierarchy, previous, cold)
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

    def _backend(self, device: torch.device) -> str:
        """The backend, or torch's where its library has disappeared."""
        try:
            resolve_backend(self.backend, device)
        except ImportError as error:
            print_log(
                f'{error}. It was there when training began; this E-step is '
                'done by torch, whose answer is the same up to rounding',
                logger='current',
                level=logging.WARNING,
            )
            return 'torch'
        return self.backend
