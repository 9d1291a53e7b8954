"""An E-step of clusters of equal size, by optimal transport."""

from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from ahpcl.core import (
    ClusterLadder,
    PrototypeHierarchy,
    check_hierarchy,
    seed_from,
)
from ahpcl.core.clustering.equal_clusters import (
    EqualSizeSettings,
    equal_clusters,
)
from ahpcl.core.clustering.hierarchy import prototype_level

from .clusterer import Clusterer, ClusterRequest, settings_from


@TASK_UTILS.register_module()
class SinkhornClustering(Clusterer):
    """Clusters of equal size, at every rung by itself.

    Self-labelling of all images (SeLa, Asano et al., ICLR 2020) in place of
    k-means, see :func:`ahpcl.core.clustering.equal_clusters.equal_clusters`.
    For ``AdaptiveClusterHook(clustering=dict(type='SinkhornClustering'))``.

    Args:
        warm_start: Start from the last prototypes of the same K.
        settings: Options of ``EqualSizeSettings``: ``rounds``, ``epsilon``,
            ``max_iter`` and ``tolerance``.

    Raises:
        ValueError: for an unknown option, or numbers out of range.
    """

    def __init__(self, *, warm_start: bool = False, **settings: Any) -> None:
        self.warm_start = warm_start
        self.settings = settings_from(EqualSizeSettings, settings)

    def check(
        self,
        ladder: ClusterLadder,
        num_images: int,
        linkage: str,
        device: torch.device,
    ) -> None:
        """Refuse a nested linkage, and rungs that cannot be filled."""
        if linkage != 'independent':
            raise ValueError(
                "expected linkage='independent' with SinkhornClustering, got "
                f'{linkage!r}: nested clusters cannot be of equal size at '
                'every level'
            )
        check_hierarchy(
            ladder.rungs,
            num_images,
            self.settings.kmeans,
            linkage=linkage,
            device=device,
        )

    def __call__(
        self, features: Tensor, request: ClusterRequest
    ) -> PrototypeHierarchy:
        """Label the images of every rung; its seed follows from its count."""
        init = self.warm_centroids(request)
        return PrototypeHierarchy(
            prototype_level(
                equal_clusters(
                    features,
                    k,
                    self.settings,
                    seed=seed_from(request.seed, k),
                    init=init.get(k),
                ),
                temperature=request.temperature,
            )
            for k in sorted(request.num_clusters, reverse=True)
        )
