"""What makes the prototypes of an E-step, whatever its method."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from ahpcl.core import ClusterLadder, PrototypeHierarchy
from ahpcl.core.clustering.shards import ALONE, Shards

T = TypeVar('T')


@dataclass(frozen=True)
class ClusterRequest:
    """What an E-step asks of a :class:`Clusterer`, beside the features.

    Attributes:
        num_clusters: The rungs in use.
        linkage: See :func:`ahpcl.core.build_hierarchy`.
        temperature: tau, the mean of the concentrations.
        seed: Seed of all random draws.
        epoch: Counted from 0.
        interval: Epochs between two E-steps.
        previous: The last hierarchy, whose clusters these continue; None for
            the first E-step.
        shards: Where the other features are, if these are a part of them.
    """

    num_clusters: tuple[int, ...]
    linkage: str
    temperature: float
    seed: int
    epoch: int = 0
    interval: int = 1
    previous: PrototypeHierarchy | None = None
    shards: Shards = ALONE


class Clusterer(ABC):
    """Base of what ``AdaptiveClusterHook(clustering=...)`` builds.

    Attributes:
        warm_start: Whether some E-steps start from the last centroids.
    """

    warm_start: bool = False

    @abstractmethod
    def check(
        self,
        ladder: ClusterLadder,
        num_images: int,
        linkage: str,
        device: torch.device,
    ) -> None:
        """Check that every window of a ladder can be clustered.

        Args:
            ladder: Ladder of the run.
            num_images: N.
            linkage: Linkage of the run.
            device: Where the features will be.

        Raises:
            ValueError: if a rung, the linkage or a setting does not fit.
            ImportError: if a library is not installed.
        """

    @abstractmethod
    def __call__(
        self, features: Tensor, request: ClusterRequest
    ) -> PrototypeHierarchy:
        """Cluster features at every count of the request.

        Args:
            features: (N, D), or the own ones, (n, D).
            request: What is asked for.
        """

    def supports_sharding(self, linkage: str) -> bool:
        """Whether the features may stay on the ranks that have them."""
        return False

    def is_cold_start(self, epoch: int, interval: int = 1) -> bool:
        """Whether the E-step of an epoch, from 0, takes no warm start.

        Args:
            epoch: Counted from 0.
            interval: Epochs between two E-steps.
        """
        return not self.warm_start

    def effort(self, request: ClusterRequest) -> str:
        """Say what an E-step costs and what it was spared, for the log."""
        return ''

    def warm_centroids(self, request: ClusterRequest) -> dict[int, Tensor]:
        """K -> the last centroids (K, D), where a warm start is due."""
        if request.previous is None or self.is_cold_start(
            request.epoch, request.interval
        ):
            return {}
        return {
            level.num_clusters: level.centroids
            for level in request.previous.levels
            if level.num_clusters in request.num_clusters
        }


def settings_from(kind: type[T], given: dict[str, Any]) -> T:
    """Settings made of the options of a config.

    Args:
        kind: A dataclass of settings, which checks itself.
        given: Options by name.

    Raises:
        ValueError: if an option is unknown, or does not fit.
    """
    known = [field.name for field in fields(kind)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(
            f'expected options among {", ".join(known)} '
            f'({kind.__name__}), got {", ".join(unknown)}'
        )
    return kind(**given)
