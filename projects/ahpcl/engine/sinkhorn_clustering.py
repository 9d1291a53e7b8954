"""An E-step of clusters of equal size, by optimal transport."""

from dataclasses import dataclass

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from ahpcl.core import (
    ClusterLadder,
    PrototypeHierarchy,
    PrototypeLevel,
    check_hierarchy,
    concentration,
    equal_labels,
    seed_from,
    spherical_kmeans,
)
from ahpcl.core.points import unit_rows
from ahpcl.core.segments import distances_to, segment_sum


@TASK_UTILS.register_module()
@dataclass(frozen=True)
class SinkhornClustering:
    """Self-labelling of all images in place of k-means.

    The labels of SeLa (Asano et al., ICLR 2020) as an E-step: from the
    prototypes of a k-means, or of the E-step before, images are labelled so
    that all clusters are (nearly) equally large, and prototypes become the
    normalised means of their images, a few rounds. For
    ``AdaptiveClusterHook(clustering=dict(type='SinkhornClustering'))``;
    levels are independent.

    Attributes:
        rounds: Of labels and prototypes in turn.
        epsilon: Temperature of the similarities in the transport, in units
            of their spread over the prototypes (standard deviation, mean over
            the images), which is small at first; the smaller, the nearer to
            the hard optimum and the slower.
        max_iter: Rounds of Sinkhorn and Knopp at most.
        tolerance: Of the sizes, see :func:`ahpcl.core.equal_labels`.
        n_iter: Iterations of the k-means at the start.
        backend: Of that k-means.
        alpha: Smoothing of the concentration for small clusters.
        clip: Percentiles to which the concentration is clipped.
        warm_start: Start from the last prototypes of the same K.
    """

    rounds: int = 3
    epsilon: float = 0.1
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
        assert linkage == 'independent'  # check() looked
        known = {}
        if self.warm_start and previous is not None:
            known = {lv.num_clusters: lv.centroids for lv in previous.levels}
        return PrototypeHierarchy(
            self._level(features, k, temperature, seed, known.get(k))
            for k in sorted(num_clusters, reverse=True)
        )

    def _level(
        self,
        features: Tensor,
        num_clusters: int,
        temperature: float,
        seed: int,
        centroids: Tensor | None,
    ) -> PrototypeLevel:
        if centroids is None:
            centroids = spherical_kmeans(
                features,
                num_clusters,
                n_iter=self.n_iter,
                n_init=1,
                seed=seed_from(seed, num_clusters),
                backend=self.backend,
            ).centroids
        centroids = centroids.to(features.device)
        for _ in range(self.rounds):
            scores = features @ centroids.t()
            spread = float(scores.std(dim=1, correction=0).mean())
            labels = equal_labels(
                scores,
                power=1 / (self.epsilon * max(spread, 1e-6)),
                max_iter=self.max_iter,
                tolerance=self.tolerance,
            )
            sums = segment_sum(features, labels, num_clusters).to(features)
            centroids = unit_rows(sums, centroids)
        distances = distances_to(features, centroids, labels)
        return PrototypeLevel(
            centroids=centroids,
            assignments=labels,
            concentration=concentration(
                distances,
                labels,
                num_clusters,
                temperature=temperature,
                alpha=self.alpha,
                clip=tuple(self.clip),
            ),
            objective=float(distances.double().square().mean()),
        )
