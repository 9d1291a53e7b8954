"""Ideas on trial for gate 2c, for one process.

What gains by the rows moves into the package, the rest goes and leaves its
rows and a line on the results' page.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from _oracle import PrototypeSelection
from mmengine.registry import MODELS, TASK_UTILS
from torch import Tensor, nn

from ahpcl.core import Clustering, PrototypeHierarchy
from ahpcl.core.clustering.hierarchy import prototype_level
from ahpcl.core.clustering.warm import moved_centroids
from ahpcl.core.clustering.whitening import pca_whiten
from ahpcl.engine import ClusterRequest, KMeansClustering
from ahpcl.models import AHPCL
from ahpcl.models.features import first_view, pool_features


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


@TASK_UTILS.register_module(force=True)
class WhitenedClustering(KMeansClustering):
    """k-means of whitened features, as DeepCluster has it.

    The prototypes are the means of the features as they were, so that queries
    can be contrasted with them.
    """

    def __call__(
        self, features: Tensor, request: ClusterRequest
    ) -> PrototypeHierarchy:
        """Cluster (N, D) features."""
        features = features.float()
        rows = F.normalize(pca_whiten(features, features.shape[1]), dim=1)
        levels = []
        for level in super().__call__(rows, request).levels:
            own = level.assignments
            centroids = moved_centroids(features, own, level.centroids)
            distances = (features - centroids[own]).norm(dim=1)
            objective = float(distances.square().mean())
            found = Clustering(
                centroids,
                own,
                distances,
                objective,
                num_repaired=level.num_repaired,
                parents=level.parents,
            )
            levels.append(
                prototype_level(found, temperature=request.temperature)
            )
        return PrototypeHierarchy(levels)


@MODELS.register_module(force=True)
class PooledKeys(AHPCL):
    """AHPCL whose E-step sees pooled features, as DeepCluster's does."""

    @torch.no_grad()
    def extract_keys(self, inputs: Any) -> Tensor:
        """(B, C) unit rows of the key encoder's backbone."""
        maps = self.encoder_k[0](first_view(inputs))
        return F.normalize(pool_features(maps), dim=1)


@MODELS.register_module(force=True)
class ClassifierLoss(nn.Module):
    """A classifier of the clusters in place of their centroids.

    Its weights are learnt.

    Args:
        clusters: The rungs of the ladder.
        dim: Of the queries.
        temperature: Of the scores.
        start: With every E-step the weights start again with the `centroids`,
            or near zero, `random`. `kept` ones start near zero where a rung is
            new and are learnt on then, as clusters keep their numbers.
        cosine: The scores are of unit weights.
    """

    def __init__(
        self,
        clusters: list[int],
        dim: int = 128,
        temperature: float = 0.1,
        start: str = 'centroids',
        cosine: bool = False,
    ) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(
            {str(k): nn.Parameter(torch.zeros(k, dim)) for k in clusters}
        )
        self.temperature = temperature
        self.start = start
        self.cosine = cosine
        self._seen: dict[str, Any] = {}

    def forward(
        self,
        query: Tensor,
        level: Any,
        sample_idx: Tensor,
        label_smoothing: float = 0.0,
        generator: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """(B, D), a level, (B,) to the loss and the accuracy in percent."""
        name = str(level.num_clusters)
        weights = self.weights[name]
        if self._seen.get(name) is not level:
            new = name not in self._seen
            self._seen[name] = level
            with torch.no_grad():
                if self.start == 'centroids':
                    weights.copy_(level.centroids)
                elif new or self.start == 'random':
                    weights.normal_(std=1 if self.cosine else 0.01)
                    if self.cosine:
                        weights.copy_(F.normalize(weights, dim=1))
        target = level.assignments.cpu()[sample_idx.cpu()].to(query.device)
        if self.cosine:
            weights = F.normalize(weights, dim=1)
        logits = query @ weights.t() / self.temperature
        loss = F.cross_entropy(logits, target, label_smoothing=label_smoothing)
        right = logits.detach().argmax(1) == target
        return loss, 100 * right.float().mean()
