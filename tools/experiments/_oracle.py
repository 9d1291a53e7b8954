"""Clusters that know the classes: what would good prototypes be worth?

For experiments alone, as they look at labels. A share of the images is put
into clusters by chance, so that a run can be compared with one whose k-means
finds as many pairs of one class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.registry import DATASETS, TASK_UTILS
from torch import Tensor

from ahpcl.core import ClusterLadder, PrototypeHierarchy
from ahpcl.core.levels import prototype_level
from ahpcl.core.lloyd import Clustering
from ahpcl.core.points import unit_rows


@TASK_UTILS.register_module()
@dataclass
class OracleClustering:
    """One cluster for every class, in place of a k-means.

    Attributes:
        dataset: Config of the training images, whose labels are read.
        wrong: Share of the images whose cluster is drawn by chance; who they
            are stays the same over the run.
        seed: Of that draw.
    """

    dataset: dict[str, Any] = field(repr=False)
    wrong: float = 0.0
    seed: int = 0

    def check(
        self,
        ladder: ClusterLadder,
        num_images: int,
        linkage: str,
        device: torch.device,
    ) -> None:
        """Check that the ladder is the number of classes.

        Raises:
            ValueError: If it is not, or ``wrong`` is no share.
        """
        labels = self._labels()
        classes = int(labels.max()) + 1
        if tuple(ladder.rungs) != (classes,):
            raise ValueError(
                f'expected the one rung {classes}, the number of classes, got '
                f'{tuple(ladder.rungs)}'
            )
        if not 0 <= self.wrong <= 1:
            raise ValueError(f'expected wrong to be a share, got {self.wrong}')

    def works_in_parts(self, linkage: str) -> bool:
        """No."""
        return False

    def starts_anew(self, epoch: int) -> bool:
        """Always: nothing is kept."""
        return True

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
        """Clusters of features (N, D): means of the classes."""
        (count,) = num_clusters
        points = unit_rows(features.float())
        labels = self._labels()
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(count, labels.shape, generator=generator)
        chance = torch.rand(len(labels), generator=generator) < self.wrong
        labels = torch.where(chance, drawn, labels).to(points.device)
        sums = torch.zeros(count, points.shape[1], device=points.device)
        centroids = unit_rows(sums.index_add_(0, labels, points))
        distances = (points - centroids[labels]).norm(dim=1)
        return PrototypeHierarchy(
            [
                prototype_level(
                    Clustering(centroids, labels, distances, 1, 0),
                    temperature=temperature,
                )
            ]
        )

    def _labels(self) -> Tensor:
        settings = {
            k: v for k, v in self.dataset.items() if k != 'decoded_cache'
        }
        dataset = DATASETS.build(dict(settings, scan='off', pipeline=[]))
        return torch.as_tensor(dataset.get_gt_labels()).long()
