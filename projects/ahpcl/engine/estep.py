"""The E-step: features of all images, then prototypes of every rung."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.utils.data import DataLoader

from ahpcl.core import (
    PrototypeHierarchy,
    clustering_agreement,
    seed_from,
)

from .clustering import KMeansClustering
from .distributed import on_rank_0
from .extraction import extract_features
from .progress import pulse

# Adjusted mutual information takes time with the square of K: 5 s at 3,200
# clusters on one CPU core, hours at 100,000.
MAX_COMPARED_CLUSTERS = 5000


@dataclass(frozen=True)
class EStepResult:
    """What an E-step gives.

    Attributes:
        hierarchy: On the device of the model, the same on every rank.
        agreement: K -> adjusted mutual information with the E-step before,
            for the rungs that are in both.
        extract_seconds: Wall time of the extraction.
        cluster_seconds: Wall time of clustering, agreement and broadcast.
    """

    hierarchy: PrototypeHierarchy
    agreement: dict[int, float]
    extract_seconds: float
    cluster_seconds: float

    def mean_agreement(self) -> float | None:
        """Mean over the rungs that are in both, None where none is."""
        if not self.agreement:
            return None
        return sum(self.agreement.values()) / len(self.agreement)

    def summary(self) -> dict[int, dict[str, float]]:
        """Statistics of every level by its number of clusters."""
        rows = {}
        for level in self.hierarchy.levels:
            sizes = level.sizes()
            row = dict(
                clusters=int((sizes > 0).sum()),
                objective=level.objective,
                size_min=int(sizes.min()),
                size_median=float(sizes.double().quantile(0.5)),
                size_max=int(sizes.max()),
                repaired=level.num_repaired,
            )
            if level.num_clusters in self.agreement:
                row['agreement'] = self.agreement[level.num_clusters]
            rows[level.num_clusters] = row
        return rows


class EStep:
    """Extraction on all ranks, clustering on rank 0, prototypes for all.

    Args:
        dataloader: Over the training images in order, see
            :func:`check_extract_loader`.
        clustering: Settings of the k-means.
        linkage: ``'independent'``, ``'agglomerative'`` or ``'divisive'``.
    """

    def __init__(
        self,
        dataloader: DataLoader,
        clustering: KMeansClustering,
        linkage: str,
    ) -> None:
        self.dataloader = dataloader
        self.clustering = clustering
        self.linkage = linkage

    def run(
        self,
        model: nn.Module,
        num_clusters: Sequence[int],
        *,
        temperature: float,
        seed: int,
        epoch: int,
        previous: PrototypeHierarchy | None = None,
    ) -> EStepResult:
        """Make the prototypes of an epoch; a collective call.

        Args:
            model: The unwrapped algorithm.
            num_clusters: The rungs in use.
            temperature: tau, the mean of the concentrations.
            seed: Of the run; k-means draws by (seed, epoch, K).
            epoch: From 0.
            previous: The hierarchy of the E-step before.

        Raises:
            FloatingPointError: if a feature is NaN or infinite.
            RuntimeError: on the other ranks, if clustering failed on rank 0.
        """
        start = time.perf_counter()
        features = extract_features(model, self.dataloader)
        extracted = time.perf_counter()

        def cluster() -> tuple[dict, dict[int, float]]:
            with pulse('E-step: clusters'):
                found = self.clustering(
                    features,
                    tuple(num_clusters),
                    linkage=self.linkage,
                    temperature=temperature,
                    seed=seed_from(seed, 'kmeans', epoch),
                    previous=previous,
                )
                state = found.to('cpu').state_dict()
                return state, agreement_by_level(found, previous)

        state, agreement = on_rank_0(cluster, 'clustering')
        hierarchy = PrototypeHierarchy.from_state_dict(state)
        return EStepResult(
            hierarchy=hierarchy.to(features.device),
            agreement=agreement,
            extract_seconds=extracted - start,
            cluster_seconds=time.perf_counter() - extracted,
        )


def agreement_by_level(
    hierarchy: PrototypeHierarchy, previous: PrototypeHierarchy | None
) -> dict[int, float]:
    """K -> adjusted mutual information of two E-steps.

    For every K that is in both and at most ``MAX_COMPARED_CLUSTERS``.
    """
    if previous is None:
        return {}
    before = {level.num_clusters: level for level in previous.levels}
    return {
        level.num_clusters: clustering_agreement(
            level.assignments, before[level.num_clusters].assignments
        ).ami
        for level in hierarchy.levels
        if level.num_clusters in before
        and level.num_clusters <= MAX_COMPARED_CLUSTERS
    }
