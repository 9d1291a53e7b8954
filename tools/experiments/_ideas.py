"""Ideas on trial for gate 2c. One process; a stopped row starts again.

What gains by the rows moves into the package, the rest goes and leaves its
rows and a line on the results' page.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from _oracle import PrototypeSelection
from _structure import other_neighbours
from mmengine.registry import MODELS, TASK_UTILS
from torch import Tensor, nn

from ahpcl.core import (
    KMeansSettings,
    PrototypeHierarchy,
    clustering_agreement,
    spherical_kmeans,
)
from ahpcl.core.clustering.rows import unit_rows
from ahpcl.engine import ClusterRequest, KMeansClustering

# How much every image counts at a level of so many clusters, (N,), how much
# the level does, and the unit rows (N, D) that were clustered.
_WEIGHTS: dict[int, Tensor] = {}
_TRUST: dict[int, float] = {}
_POINTS: dict[int, Tensor] = {}


@TASK_UTILS.register_module(force=True)
class CoreClustering(KMeansClustering):
    """k-means that also says which images are the core of a level.

    Args:
        share: The core is this share of all images, those that are nearest
            to their centroids, whatever their cluster.
        settings: As of :class:`KMeansClustering`.
    """

    def __init__(self, *, share: float, **settings: Any) -> None:
        super().__init__(**settings)
        if not 0 < share <= 1:
            raise ValueError(f'expected a share in (0, 1], got {share}')
        self.share = share

    def __call__(
        self, features: Tensor, request: ClusterRequest
    ) -> PrototypeHierarchy:
        """Cluster, and keep the cores for the loss."""
        hierarchy = super().__call__(features, request)
        points = unit_rows(features.float())
        for level in hierarchy.levels:
            distances = level.distances(points)
            count = max(round(self.share * len(distances)), 1)
            limit = distances.kthvalue(count).values
            core = distances <= limit
            _WEIGHTS[level.num_clusters] = core.float().cpu()
        return hierarchy


@TASK_UTILS.register_module(force=True)
class NeighbourTrust(KMeansClustering):
    """k-means that trusts an image as its neighbours are of its cluster.

    The weight of an image is the share of its nearest images that are in its
    own cluster, over the mean of all images.

    Args:
        neighbours: How many nearest images count.
        settings: As of :class:`KMeansClustering`.
    """

    def __init__(self, *, neighbours: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.neighbours = neighbours

    def __call__(
        self, features: Tensor, request: ClusterRequest
    ) -> PrototypeHierarchy:
        """Cluster, and keep the weights for the loss."""
        hierarchy = super().__call__(features, request)
        near = other_neighbours(unit_rows(features.float()), self.neighbours)
        for level in hierarchy.levels:
            own = level.assignments.to(near.device)
            weights = (own[near] == own[:, None]).float().mean(1)
            weights = weights / weights.mean().clamp(min=1e-6)
            _WEIGHTS[level.num_clusters] = weights.cpu()
        return hierarchy


@TASK_UTILS.register_module(force=True)
class LevelTrust(KMeansClustering):
    """k-means that trusts a level as far as another start finds it again.

    The weight of a level is 0 where the adjusted mutual information with
    clusters of another cold start is at most ``low``, ``most`` where it is at
    least ``high``, and linear between. What digits, CIFAR-10 and TIN-100
    have at K = 5 to 50 after MoCo v2 (0.8 to 0.9, 0.6, 0.6) was seen before
    the bounds were chosen.

    Args:
        low: Agreement that is not trusted.
        high: Agreement that is trusted wholly.
        most: The weight then.
        settings: As of :class:`KMeansClustering`.
    """

    def __init__(
        self, *, low: float, high: float, most: float, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.low, self.high, self.most = low, high, most

    def __call__(
        self, features: Tensor, request: ClusterRequest
    ) -> PrototypeHierarchy:
        """Cluster, and keep the weights of the levels for the loss."""
        hierarchy = super().__call__(features, request)
        points = unit_rows(features.float())
        for level in hierarchy.levels:
            again = spherical_kmeans(
                points,
                level.num_clusters,
                KMeansSettings(n_init=1),
                seed=request.seed + 1,
            )
            agreement = clustering_agreement(
                level.assignments, again.assignments
            ).ami
            share = (agreement - self.low) / (self.high - self.low)
            _TRUST[level.num_clusters] = self.most * min(max(share, 0.0), 1.0)
        return hierarchy


@TASK_UTILS.register_module(force=True)
class PosteriorClustering(KMeansClustering):
    """k-means that also keeps what it clustered, for posteriors."""

    def __call__(
        self, features: Tensor, request: ClusterRequest
    ) -> PrototypeHierarchy:
        """Cluster, and keep the points for the loss."""
        hierarchy = super().__call__(features, request)
        points = unit_rows(features.float())
        for level in hierarchy.levels:
            _POINTS[level.num_clusters] = points.cpu()
        return hierarchy


@MODELS.register_module(force=True)
class TrialProtoLoss(nn.Module):
    """The prototype loss with parts of it changed.

    Args:
        core: Images count as `CoreClustering` or `NeighbourTrust` says; the
            loss is the weighted mean.
        trust: A level counts as `LevelTrust` says.
        negatives: False attracts a query to its prototype and pushes it from
            none: 2 - 2 q . c, the form of BYOL.
        posterior: The target of a query is no single prototype but
            softmax(x . c / (posterior * phi)) over all of a level, x its
            image as the E-step saw it (`PosteriorClustering`). At 1 that is
            the E-step of EM, of which PCL takes the maximum alone; the lower,
            the sharper. Prototypes of an image's own kind that lie near are
            attracted and not pushed away.
    """

    def __init__(
        self,
        core: bool = False,
        negatives: bool = True,
        trust: bool = False,
        posterior: float | None = None,
    ) -> None:
        super().__init__()
        if posterior is not None and not (posterior > 0 and negatives):
            raise ValueError(
                'expected a positive posterior, and negatives, got '
                f'{posterior} and {negatives}'
            )
        self.core = core
        self.trust = trust
        self.negatives = negatives
        self.posterior = posterior

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
        cosines = query @ level.centroids.t()
        logits = cosines / level.concentration
        right = (logits.detach().argmax(1) == target).float()
        if self.posterior is not None:
            seen = _kept(_POINTS, level.num_clusters)[index].to(query)
            phi = self.posterior * level.concentration
            targets = (seen @ level.centroids.t() / phi).softmax(1)
            losses = F.cross_entropy(logits, targets, reduction='none')
        elif self.negatives:
            losses = F.cross_entropy(
                logits,
                target,
                label_smoothing=label_smoothing,
                reduction='none',
            )
        else:
            losses = 2 - 2 * cosines.gather(1, target[:, None])[:, 0]
        weights = torch.ones_like(losses)
        if self.core:
            weights = _kept(_WEIGHTS, level.num_clusters)[index].to(losses)
        loss = (weights * losses).sum() / weights.sum().clamp(min=1)
        if self.trust:
            loss = loss * _kept(_TRUST, level.num_clusters)
        return loss, 100 * right.mean()


def _kept(known: dict[int, Any], clusters: int) -> Any:
    """What the clustering of this process keeps of a level."""
    if clusters not in known:
        raise ValueError(
            f'expected an E-step at {clusters} clusters, got none; a row with '
            'a core, with trust or with posteriors cannot be resumed: delete '
            'its folder in work_dirs/experiments, and it starts again'
        )
    return known[clusters]


@MODELS.register_module(force=True)
class FarNegatives(PrototypeSelection):
    """Leaves the prototypes nearest to the own one out of the negatives.

    Args:
        share: Of a level's prototypes, the own one included. With C kinds of
            equal size 1 / C of the prototypes are of the own kind.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f'expected a share in (0, 1), got {share}')
        self.share = share

    @torch.no_grad()
    def prototype_masks(
        self, hierarchy: Any, sample_idx: Tensor, generator: Any
    ) -> list[Tensor]:
        """Masks (B, K), one per level."""
        masks = []
        for level in hierarchy.levels:
            own = level.assignments.cpu()[sample_idx.cpu()]
            own = own.to(level.centroids.device)
            cosines = level.centroids[own] @ level.centroids.t()
            count = max(int(self.share * level.num_clusters), 1)
            near = cosines.topk(count).indices
            mask = torch.ones_like(cosines, dtype=torch.bool)
            masks.append(mask.scatter_(1, near, False))
        return masks


@MODELS.register_module(force=True)
class PredictionLoss(nn.Module):
    """BYOL's instance term: predict the other view's key, no negatives.

    Grill et al., "Bootstrap your own latent" (NeurIPS 2020), eq. 2. The
    accuracy is that of the prediction among the key and the queue.

    Args:
        dim: Of queries and keys.
        hidden: Width of the predictor.
        temperature: To which the concentrations of clusters are scaled.
    """

    def __init__(
        self, dim: int = 128, hidden: int = 256, temperature: float = 0.1
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.predictor = nn.Sequential(
            nn.Linear(dim, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, dim),
        )

    def forward(
        self, query: Tensor, key: Tensor, queue: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, D), (B, D), (D, Q) to the loss and the accuracy in percent."""
        predicted = F.normalize(self.predictor(query), dim=1)
        own = (predicted * key).sum(1)
        others = (predicted.detach() @ queue).max(1).values
        return (2 - 2 * own).mean(), 100 * (own > others).float().mean()
