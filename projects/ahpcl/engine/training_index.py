"""What a finished run keeps of its images, to assign others without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ahpcl.core import KMeansSettings, PrototypeHierarchy
from ahpcl.core.clustering.assign import assign_points
from ahpcl.core.clustering.held_out import NoveltyThreshold, novelty_threshold

#: The part of a checkpoint's state that it is.
INDEX = 'index'
KEY_BYTES = 64 * 2**20
EXEMPLARS = 10
_VERSION = 1


@dataclass(frozen=True, eq=False)
class TrainingIndex:
    """Keys of the training images, and how far such images lie.

    Attributes:
        linkage: How the levels of the hierarchy were made.
        keys: Unit rows of the training images in the space of the
            prototypes, (N, D) float16; None where they would take more than
            64 MiB.
        exemplars: The images nearest to every prototype, nearest first,
            (K, up to 10) int64 for every level; None where there are keys.
        threshold: Distance from which on an image is unlike any of them;
            None where there were too few to tell.
        agreement: Share of the training images, at every level, that are
            assigned as by the clustering itself: 1 but for clusterings that
            bound the sizes, or whose centroids were of other lengths.
        space: 'keys' of a key encoder, or pooled 'features' of unit length.
    """

    linkage: str
    keys: Tensor | None
    exemplars: tuple[Tensor, ...] | None
    threshold: NoveltyThreshold | None
    agreement: tuple[float, ...]
    space: str = 'keys'

    @classmethod
    def of(
        cls,
        features: Tensor,
        hierarchy: PrototypeHierarchy,
        *,
        linkage: str,
        settings: Any = None,
        seed: int = 0,
        space: str = 'keys',
    ) -> TrainingIndex:
        """Make the index of a finished run.

        Args:
            features: Unit rows of the images that were clustered, (N, D).
            hierarchy: Their clusters.
            linkage: How they were made.
            settings: How images are clustered, for the threshold: a
                :class:`ahpcl.core.KMeansSettings`, whose defaults serve a
                clustering of another kind.
            seed: Seed of all random draws.
            space: See the class.
        """
        found = assign_points(features, hierarchy, linkage=linkage)
        agreement = tuple(
            float((own.clusters == level.assignments).double().mean())
            for own, level in zip(found, hierarchy.levels, strict=True)
        )
        large = 2 * features.numel() > KEY_BYTES
        finest = hierarchy.levels[0].num_clusters
        return cls(
            linkage=linkage,
            keys=None if large else features.half().cpu(),
            exemplars=(
                tuple(
                    nearest_to(level.centroids, features)
                    for level in hierarchy.levels
                )
                if large
                else None
            ),
            threshold=novelty_threshold(
                features,
                finest,
                settings
                if isinstance(settings, KMeansSettings)
                else KMeansSettings(),
                seed=seed,
            ),
            agreement=agreement,
            space=space,
        )

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values; loads with ``weights_only=True``."""
        threshold = self.threshold
        return dict(
            version=_VERSION,
            linkage=self.linkage,
            keys=self.keys,
            exemplars=None if self.exemplars is None else list(self.exemplars),
            threshold=None if threshold is None else vars(threshold).copy(),
            agreement=list(self.agreement),
            space=self.space,
        )

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> TrainingIndex:
        """Return the index that ``state_dict`` described.

        Raises:
            ValueError: If a part is missing, or it is of a later version.
        """
        if state.get('version') != _VERSION:
            raise ValueError(
                f'expected an index of version {_VERSION}, got '
                f'{state.get("version")!r}: the checkpoint was written by '
                'another version of ahpcl; install that one'
            )
        threshold, exemplars = state['threshold'], state['exemplars']
        return cls(
            linkage=state['linkage'],
            keys=state['keys'],
            exemplars=None if exemplars is None else tuple(exemplars),
            threshold=(
                None if threshold is None else NoveltyThreshold(**threshold)
            ),
            agreement=tuple(state['agreement']),
            space=state['space'],
        )


def nearest_to(centroids: Tensor, features: Tensor) -> Tensor:
    """Return the images nearest to every prototype, nearest first.

    Args:
        centroids: (K, D).
        features: (N, D).

    Returns:
        Indices, (K, up to 10) int64 on the CPU.
    """
    number = min(EXEMPLARS, len(features))
    chunk = max(1, 2**24 // len(features))
    rows = [
        (block.float() @ features.float().t()).topk(number).indices
        for block in centroids.split(chunk)
    ]
    return torch.cat(rows).cpu()
