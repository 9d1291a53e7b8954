"""An E-step of clusters of equal size, by optimal transport."""

from dataclasses import dataclass

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from ahpcl.core import (
    ClusterLadder,
    PrototypeHierarchy,
    check_hierarchy,
    seed_from,
)
from ahpcl.core.clustering.equal_clusters import equal_clusters
from ahpcl.core.clustering.levels import prototype_level


@TASK_UTILS.register_module()
@dataclass(frozen=True)
class SinkhornClustering:
    """Settings of :func:`ahpcl.core.clustering.equal_clusters.equal_clusters`.

    Self-labelling of all images (SeLa, Asano et al., ICLR 2020) in place of
    k-means. For ``AdaptiveClusterHook(clustering=dict(type=
    'SinkhornClustering'))``; levels are independent.

    Attributes:
        rounds: Of labels and prototypes in turn.
        epsilon: Temperature of the transport, in units of the spread of the
            similarities.
        max_iter: Rounds of Sinkhorn and Knopp at most.
        tolerance: Of the sizes.
        n_iter: Iterations of the k-means at the start.
        backend: Of that k-means.
        alpha: Smoothing of the concentration for small clusters.
        clip: Percentiles to which the concentration is clipped.
        warm_start: Start from the last prototypes of the same K.
    """

    rounds: int = 3
    epsilon: float = 0.05
    max_iter: int = 200
    tolerance: float = 0.02
    n_iter: int = 10
    backend: str = 'auto'
    alpha: float = 10.0
    clip: tuple[float, float] = (10, 90)
    warm_start: bool = False

    def check(
        self,
        ladder: ClusterLadder,
        num_images: int,
        linkage: str,
        device: torch.device,
    ) -> None:
        """Check that every window of a ladder can be clustered.

        Raises:
            ValueError: for a nested linkage, rungs that cannot be filled, or
                numbers out of range.
            ImportError: if the backend is not installed.
        """
        if linkage != 'independent':
            raise ValueError(
                "expected linkage='independent' with SinkhornClustering, got "
                f'{linkage!r}: nested clusters cannot be of equal size at '
                'every level'
            )
        for name in ('rounds', 'epsilon', 'max_iter', 'tolerance', 'n_iter'):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f'expected clustering.{name} above 0, got '
                    f'{getattr(self, name)}'
                )
        for rung in ladder.rungs:
            check_hierarchy(
                (rung,),
                num_images,
                linkage=linkage,
                backend=self.backend,
                balance=None,
                min_ratio=1.0,
                device=device,
            )

    def supports_sharding(self, linkage: str) -> bool:
        """No: equal sizes need the features of all images at once."""
        return False

    def is_cold_start(self, epoch: int) -> bool:
        """Whether the E-step of an epoch, from 0, takes no warm start."""
        return not self.warm_start

    def __call__(
        self,
        features: Tensor,
        num_clusters: tuple[int, ...],
        *,
        linkage: str,
        temperature: float,
        seed: int,
        previous: PrototypeHierarchy | None = None,
        epoch: int = 0,
    ) -> PrototypeHierarchy:
        """Cluster features (N, D) at every count of ``num_clusters``."""
        assert linkage == 'independent'  # check() looked
        known = {}
        if not self.is_cold_start(epoch) and previous is not None:
            known = {lv.num_clusters: lv.centroids for lv in previous.levels}
        return PrototypeHierarchy(
            prototype_level(
                equal_clusters(
                    features,
                    k,
                    rounds=self.rounds,
                    epsilon=self.epsilon,
                    max_iter=self.max_iter,
                    tolerance=self.tolerance,
                    n_iter=self.n_iter,
                    seed=seed_from(seed, k),
                    init=known.get(k),
                    backend=self.backend,
                ),
                temperature=temperature,
                alpha=self.alpha,
                clip=tuple(self.clip),
            )
            for k in sorted(num_clusters, reverse=True)
        )
