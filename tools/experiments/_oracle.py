"""Parts that know the classes: what would good prototypes be worth?

For experiments alone, as they look at labels: clusters that are the classes
or lie within them, negatives without a query's own class, and weights by true
purity. They bound what label-free forms of the same can be worth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import DATASETS, MODELS, TASK_UTILS
from torch import Tensor, nn

from ahpcl.core import (
    Clustering,
    ClusterLadder,
    KMeansSettings,
    PrototypeHierarchy,
    spherical_kmeans,
)
from ahpcl.core.clustering.hierarchy import prototype_level
from ahpcl.core.clustering.rows import unit_rows
from ahpcl.engine import Clusterer, ClusterRequest


@TASK_UTILS.register_module(force=True)
@dataclass
class OracleClustering(Clusterer):
    """One cluster for every class, or several, in place of a k-means.

    The ladder says how many: the number of classes, or a multiple of it. Then
    the images of every class are clustered by a k-means of their own.

    Attributes:
        dataset: Config of the training images, whose labels are read.
        wrong: Share of the images whose cluster is drawn by chance; who they
            are stays the same over the run.
        seed: Seed of that draw.
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
        """Check that the ladder is a multiple of the number of classes."""
        classes = int(labels_of(self.dataset).max()) + 1
        if len(ladder.rungs) != 1 or ladder.rungs[0] % classes:
            raise ValueError(
                f'expected the one rung {classes}, the number of classes, or '
                f'a multiple of it, got {tuple(ladder.rungs)}'
            )
        if not 0 <= self.wrong <= 1:
            raise ValueError(f'expected wrong to be a share, got {self.wrong}')

    def __call__(
        self, features: Tensor, request: ClusterRequest
    ) -> PrototypeHierarchy:
        """Clusters whose centroids are the means of the classes."""
        (count,) = request.num_clusters
        points = unit_rows(features.float())
        labels = labels_of(self.dataset)
        classes = int(labels.max()) + 1
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(classes, labels.shape, generator=generator)
        chance = torch.rand(len(labels), generator=generator) < self.wrong
        labels = torch.where(chance, drawn, labels).to(points.device)
        own = count // classes
        if own > 1:
            labels = _within_classes(points, labels, own, request.seed)
        sums = torch.zeros(count, points.shape[1], device=points.device)
        centroids = unit_rows(sums.index_add_(0, labels, points))
        distances = (points - centroids[labels]).norm(dim=1)
        found = Clustering(
            centroids,
            labels,
            distances,
            objective=float(distances.double().square().mean()),
        )
        return PrototypeHierarchy(
            [prototype_level(found, temperature=request.temperature)]
        )


def _within_classes(
    points: Tensor, labels: Tensor, clusters: int, seed: int
) -> Tensor:
    """Clusters (N,) of which every class has so many of its own."""
    found = torch.empty_like(labels)
    for label in range(int(labels.max()) + 1):
        own = labels == label
        result = spherical_kmeans(
            points[own],
            clusters,
            KMeansSettings(n_init=1),
            seed=seed + label,
        )
        found[own] = label * clusters + result.assignments
    return found


class PrototypeSelection(nn.Module):
    """Selects among prototypes only, of whatever levels there are."""

    def check_linkage(self, linkage: str) -> None:
        """Accept every linkage."""

    def check(self, hierarchy: PrototypeHierarchy) -> None:
        """Accept every hierarchy."""

    def key_masks(self, *args: Any) -> None:
        """All keys."""


@MODELS.register_module(force=True)
class OtherClassNegatives(PrototypeSelection):
    """Keeps as negatives the prototypes that are not of the query's class.

    A prototype is of the class that most images of its cluster have. Keys of
    the queue all stay negatives.

    Args:
        dataset: Config of the training images, whose labels are read.
    """

    def __init__(self, dataset: dict[str, Any]) -> None:
        super().__init__()
        self.labels = labels_of(dataset)
        self._known: tuple[Any, list[Tensor]] = (None, [])

    @torch.no_grad()
    def prototype_masks(
        self, hierarchy: Any, sample_idx: Tensor, generator: Any
    ) -> list[Tensor]:
        """Masks (B, K), one per level."""
        known, classes = self._known
        if known is not hierarchy:  # once per E-step
            classes = [
                class_counts(level, self.labels).argmax(1)
                for level in hierarchy.levels
            ]
            self._known = hierarchy, classes
        own = self.labels[sample_idx.cpu()][:, None]
        return [
            (own != each).to(level.centroids.device)
            for each, level in zip(classes, hierarchy.levels, strict=True)
        ]


@MODELS.register_module(force=True)
class TruePurityProtoNCE(nn.Module):
    """The prototype loss over all prototypes, weighted by true purity.

    Weights are shares beyond chance, (share - chance) / (1 - chance) and 0
    below it, scaled to a mean of 1 over all images, so that the whole loss
    weighs as much as without.

    Args:
        dataset: Config of the training images, whose labels are read.
        of: 'clusters': the share of a cluster's most frequent class counts
            for all its images. 'images': of the images of its cluster, the
            share that are of the image's own class.
    """

    def __init__(self, dataset: dict[str, Any], of: str) -> None:
        super().__init__()
        if of not in ('clusters', 'images'):
            raise ValueError(f"expected of='clusters' or 'images', got {of!r}")
        self.labels = labels_of(dataset)
        self.of = of
        self._known: dict[int, tuple[Any, Tensor]] = {}

    def weights(self, level: Any) -> Tensor:
        """Weights (N,) of all images at a level."""
        known = self._known.get(level.num_clusters)
        if known is not None and known[0] is level:
            return known[1]
        counts = class_counts(level, self.labels).double()
        shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
        assignments = level.assignments.cpu()
        totals = torch.bincount(self.labels).double() / len(self.labels)
        if self.of == 'clusters':
            share, classes = shares.max(1)
            share, chance = share[assignments], totals[classes][assignments]
        else:
            share = shares[assignments, self.labels]
            chance = totals[self.labels]
        weights = ((share - chance) / (1 - chance)).clamp(min=0)
        weights = (weights / weights.mean().clamp(min=1e-6)).float()
        self._known[level.num_clusters] = level, weights
        return weights

    def forward(
        self,
        query: Tensor,
        level: Any,
        sample_idx: Tensor,
        label_smoothing: float = 0.0,
        generator: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """(B, D), a level, (B,) to the loss and the accuracy in percent."""
        index = sample_idx.cpu()
        target = level.assignments.cpu()[index].to(query.device)
        logits = (query @ level.centroids.t()) / level.concentration
        losses = F.cross_entropy(
            logits, target, label_smoothing=label_smoothing, reduction='none'
        )
        weights = self.weights(level)[index].to(query.device)
        right = (logits.detach().argmax(1) == target).float()
        return (weights * losses).mean(), 100 * right.mean()


def class_counts(level: Any, labels: Tensor) -> Tensor:
    """Images of every cluster and class, (K, C)."""
    classes = int(labels.max()) + 1
    places = level.assignments.cpu() * classes + labels
    counts = torch.bincount(places, minlength=level.num_clusters * classes)
    return counts.view(level.num_clusters, classes)


def labels_of(dataset: dict[str, Any]) -> Tensor:
    """Classes (N,) of the images of a config, which are not read."""
    settings = {k: v for k, v in dataset.items() if k != 'decoded_cache'}
    built = DATASETS.build(dict(settings, scan='off', pipeline=[]))
    return torch.as_tensor(built.get_gt_labels()).long()
