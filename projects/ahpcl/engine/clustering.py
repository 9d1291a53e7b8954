"""The clustering of the E-step, built from a config."""

import logging
from dataclasses import replace
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import TASK_UTILS
from torch import Tensor

from ahpcl.core import (
    ClusterLadder,
    KMeansSettings,
    PrototypeHierarchy,
    build_hierarchy,
    check_hierarchy,
)
from ahpcl.core.clustering.identity import keep_identities
from ahpcl.core.clustering.search import resolve_backend
from ahpcl.core.clustering.warm import moved_centroids

from .clusterer import Clusterer, ClusterRequest, settings_from
from .schedule import falls_due


@TASK_UTILS.register_module()
class KMeansClustering(Clusterer):
    """Clusters by k-means, :func:`ahpcl.core.build_hierarchy`.

    Args:
        warm_start: Go on from the last clusters of the same K. A rung that
            is new in the window starts cold, and so does the whole window
            every ``restart_every`` epochs.
        warm_from: What of the last clusters a warm start begins with:
            ``'images'``, the means of their images in the features of now,
            which hold also while the features move fast; or
            ``'centroids'``, which were learnt of the features of before.
        restart_every: Epochs between cold starts, with ``warm_start``; None
            for never.
        concentration: ``'estimated'`` from the distances (PCL, section 3.3),
            or ``'fixed'``: phi is tau for every cluster.
        settings: Options of :class:`ahpcl.core.KMeansSettings`, such as
            ``n_init=1``. If the library of the backend is gone in mid-run,
            torch goes on.

    Raises:
        ValueError: for an unknown option, or numbers out of range.
    """

    def __init__(
        self,
        *,
        warm_start: bool = False,
        warm_from: str = 'centroids',
        restart_every: int | None = 10,
        concentration: str = 'estimated',
        **settings: Any,
    ) -> None:
        if concentration not in ('estimated', 'fixed'):
            raise ValueError(
                "expected clustering.concentration 'estimated' or 'fixed', "
                f'got {concentration!r}'
            )
        if warm_from not in ('images', 'centroids'):
            raise ValueError(
                "expected clustering.warm_from 'images' or 'centroids', got "
                f'{warm_from!r}'
            )
        if restart_every is not None and restart_every < 1:
            raise ValueError(
                'expected clustering.restart_every of at least 1, or None, '
                f'got {restart_every}'
            )
        self.warm_start = warm_start
        self.warm_from = warm_from
        self.restart_every = restart_every
        self.concentration = concentration
        self.settings = settings_from(KMeansSettings, settings)

    def supports_sharding(self, linkage: str) -> bool:
        """Splits and bounded sizes need all features in one process."""
        return linkage != 'divisive' and self.settings.balance is None

    def is_cold_start(self, epoch: int, interval: int = 1) -> bool:
        """Always without ``warm_start``, else every so many epochs."""
        if not self.warm_start:
            return True
        every = self.restart_every
        return every is not None and falls_due(epoch, every, interval)

    def check(
        self,
        ladder: ClusterLadder,
        num_images: int,
        linkage: str,
        device: torch.device,
    ) -> None:
        """Check every window by :func:`ahpcl.core.check_hierarchy`."""
        rungs, window = ladder.rungs, ladder.window
        for start in range(len(rungs) - window + 1):
            check_hierarchy(
                rungs[start : start + window],
                num_images,
                self.settings,
                linkage=linkage,
                device=device,
            )

    def __call__(
        self, features: Tensor, request: ClusterRequest
    ) -> PrototypeHierarchy:
        """Cluster, and keep the numbers of clusters that continue."""
        init = self.warm_centroids(request)
        if self.warm_from == 'images':
            init = {
                k: moved_centroids(
                    features,
                    request.previous.level(k).assignments,
                    centroids,
                    spherical=self.settings.spherical,
                    shards=request.shards,
                )
                for k, centroids in init.items()
            }
        hierarchy = build_hierarchy(
            features,
            request.num_clusters,
            self._usable_settings(features.device),
            linkage=request.linkage,
            temperature=request.temperature,
            seed=request.seed,
            init=init,
            shards=request.shards,
        )
        if request.previous is not None:
            cold = set(request.num_clusters) - set(init)
            hierarchy = keep_identities(hierarchy, request.previous, cold)
        if self.concentration == 'estimated':
            return hierarchy
        return PrototypeHierarchy(
            replace(
                level,
                concentration=torch.full_like(
                    level.concentration, request.temperature
                ),
            )
            for level in hierarchy.levels
        )

    def effort(self, request: ClusterRequest) -> str:
        """Count the iterations of the rungs that go on and of the others."""
        counts = request.num_clusters
        warm = self.warm_centroids(request)
        taken = full = 0
        for k in counts:
            most = self.settings.for_level(k, smallest=min(counts), warm=False)
            whole = most.n_iter * most.n_init
            own = self.settings.for_level(k, smallest=min(counts), warm=True)
            taken += own.n_iter if k in warm else whole
            full += whole
        if not warm:
            return f'new seeds, at most {full} iterations'
        spared = f' instead of {full}' if taken < full else ''
        return (
            f'at most {taken} iterations{spared}, as {len(warm)} of '
            f'{len(counts)} rungs go on from their clusters'
        )

    def _usable_settings(self, device: torch.device) -> KMeansSettings:
        """Those given, or torch's where a library has disappeared."""
        try:
            resolve_backend(self.settings.backend, device)
        except ImportError as error:
            print_log(
                f'{error}. It was there when training began; this E-step is '
                'done by torch, whose answer is the same up to rounding',
                logger='current',
                level=logging.WARNING,
            )
            return replace(self.settings, backend='torch')
        return self.settings
