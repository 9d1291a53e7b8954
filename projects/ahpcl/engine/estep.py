"""The E-step: features of all images, then prototypes of every rung."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ahpcl.core import PrototypeHierarchy, seed_from
from ahpcl.core.clustering.agreement import adjusted_mutual_information
from ahpcl.core.clustering.carry_over import carry_over
from ahpcl.models.feature_bank import FeatureBank
from ahpcl.utils.progress import pulse
from ahpcl.utils.ranks import on_rank_0

from .clusterer import Clusterer, ClusterRequest
from .extraction import (
    FeatureShard,
    extract_shard,
    shard_of,
    whole_features,
)
from .extraction_settings import ExtractionSettings


@dataclass(frozen=True)
class EStepResult:
    """What an E-step gives.

    Attributes:
        hierarchy: On the device of the model, the same on every rank.
        agreement: K -> adjusted mutual information with the E-step before,
            for the rungs that are in both.
        extract_seconds: Wall time of the extraction; near 0 with features
            of a bank.
        cluster_seconds: Wall time of clustering, agreement and broadcast.
        from_bank: Whether the features are those of a bank.
        spared_seconds: Wall time that the last extraction of this process
            took, where a bank spares another one.
        effort: What the clustering had to do, in words, see
            :meth:`Clusterer.effort`.
        features: What was clustered, where it was asked for.
    """

    hierarchy: PrototypeHierarchy
    agreement: dict[int, float]
    extract_seconds: float
    cluster_seconds: float
    from_bank: bool = False
    spared_seconds: float | None = None
    effort: str = ''
    features: FeatureShard | None = None

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
    """Features of all images, clusters, prototypes for every rank.

    Every rank extracts its share of the images. Where the clustering works
    in parts, the features stay where they are and every rank clusters its
    own; else they are gathered and rank 0 clusters alone.

    Args:
        dataloader: Over the training images in order, see
            :func:`check_extract_loader`.
        clustering: Makes the prototypes of the features.
        linkage: ``'independent'``, ``'agglomerative'`` or ``'divisive'``.
        extraction: How features are computed; None for float32.
        bank: Keys of the training pass, to use in place of an extraction.
        interval: Epochs between two E-steps.
    """

    def __init__(
        self,
        dataloader: DataLoader,
        clustering: Clusterer,
        linkage: str,
        extraction: ExtractionSettings | None = None,
        bank: FeatureBank | None = None,
        interval: int = 1,
    ) -> None:
        self.dataloader = dataloader
        self.clustering = clustering
        self.linkage = linkage
        self.extraction = extraction
        self.bank = bank
        self.interval = interval
        self._extraction_took: float | None = None

    def run(
        self,
        model: nn.Module,
        num_clusters: Sequence[int],
        *,
        temperature: float,
        seed: int,
        epoch: int,
        previous: PrototypeHierarchy | None = None,
        places: Tensor | None = None,
        fresh: bool = True,
        closing: bool = False,
    ) -> EStepResult:
        """Make the prototypes of an epoch; a collective call.

        Args:
            model: The unwrapped algorithm.
            num_clusters: The rungs in use.
            temperature: tau, the mean of the concentrations.
            seed: Seed of the run; k-means draws by (seed, epoch, K).
            epoch: Number of the epoch, from 0.
            previous: The hierarchy of the E-step before.
            places: Where every image was in it, (N,) int64, -1 for new ones;
                None where they are the same.
            fresh: Whether to extract features though there is a bank. A
                bank that lacks images is filled by an extraction anyway.
            closing: Whether the run ends with it. Then the result has the
                features, and they are clustered as they are where the others
                were whitened.

        Raises:
            FloatingPointError: if a feature is NaN or infinite.
            RuntimeError: on the other ranks, if clustering failed on rank 0.
        """
        start = time.perf_counter()
        from_bank = self.bank is not None and self.bank.complete and not fresh
        features, before = self._features(
            model, from_bank, carried=places is not None, closing=closing
        )
        extracted = time.perf_counter()
        if not from_bank:
            self._extraction_took = extracted - start
        if previous is not None and places is not None:
            previous = carry_over(
                previous, places, before.features, before.shards
            )
        request = ClusterRequest(
            num_clusters=tuple(num_clusters),
            linkage=self.linkage,
            temperature=temperature,
            seed=seed_from(seed, 'kmeans', epoch),
            epoch=epoch,
            interval=self.interval,
            previous=previous,
        )
        cluster = (
            self._in_parts
            if self.clustering.supports_sharding(self.linkage)
            else self._on_rank_0
        )
        hierarchy = cluster(features, request)
        agreement = on_rank_0(
            lambda: agreement_by_level(hierarchy, previous), 'agreement'
        )
        return EStepResult(
            hierarchy=hierarchy,
            agreement=agreement,
            extract_seconds=extracted - start,
            cluster_seconds=time.perf_counter() - extracted,
            from_bank=from_bank,
            spared_seconds=self._extraction_took if from_bank else None,
            effort=self.clustering.effort(request),
            features=features if closing else None,
        )

    def _features(
        self,
        model: nn.Module,
        from_bank: bool,
        *,
        carried: bool,
        closing: bool,
    ) -> tuple[FeatureShard, FeatureShard]:
        """What is clustered, and the images in the last prototypes' space.

        The two differ where an E-step fits the space, and then the second is
        made only if images are ``carried`` over to those prototypes.
        """
        if from_bank:
            shard = shard_of(self.bank.rows)
            return shard, shard
        space = getattr(model, 'cluster_space', None)
        if space is not None:
            pooled = extract_shard(
                model,
                self.dataloader,
                model.extract_pooled_keys,
                self.extraction,
            )
            rows = pooled.features
            before = space.unit_rows(rows) if carried else rows
            if closing:
                space.leave()
            else:
                space.fit(rows, pooled.shards)
            return tuple(
                replace(pooled, features=found)
                for found in (space.unit_rows(rows), before)
            )
        shard = extract_shard(model, self.dataloader, settings=self.extraction)
        if self.bank is not None:
            rows = whole_features(shard)
            everything = torch.arange(len(rows), device=rows.device)
            self.bank.write(everything, rows)
        return shard, shard

    def _in_parts(
        self, shard: FeatureShard, request: ClusterRequest
    ) -> PrototypeHierarchy:
        with pulse('E-step: clusters'):
            return self.clustering(
                shard.features, replace(request, shards=shard.shards)
            )

    def _on_rank_0(
        self, shard: FeatureShard, request: ClusterRequest
    ) -> PrototypeHierarchy:
        features = whole_features(shard)

        def cluster() -> dict:
            with pulse('E-step: clusters'):
                found = self.clustering(features, request)
                return found.to('cpu').state_dict()

        state = on_rank_0(cluster, 'clustering')
        return PrototypeHierarchy.from_state_dict(state).to(features.device)


def agreement_by_level(
    hierarchy: PrototypeHierarchy, previous: PrototypeHierarchy | None
) -> dict[int, float]:
    """K -> adjusted mutual information of two E-steps, for K in both."""
    if previous is None:
        return {}
    before = {level.num_clusters: level for level in previous.levels}
    return {
        level.num_clusters: adjusted_mutual_information(
            level.assignments, before[level.num_clusters].assignments
        )
        for level in hierarchy.levels
        if level.num_clusters in before
    }
