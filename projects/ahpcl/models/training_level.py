"""The prototypes of a level, laid out for the steps of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ahpcl.core import PrototypeHierarchy, PrototypeLevel


@dataclass(frozen=True, eq=False)
class TrainingLevel:
    """A :class:`PrototypeLevel` whose assignments are in the host's memory.

    What a batch's own prototypes are, and which others are drawn, then is
    known without waiting for a GPU. On the CPU it shares all tensors with
    the level.

    Attributes:
        centroids: Unit rows, (K, D), on the device.
        assignments: Cluster of every image, (N,) int64, on the CPU.
        concentration: phi of every cluster, (K,), on the device.
        parents: As in the level, on the CPU.
    """

    centroids: Tensor
    assignments: Tensor
    concentration: Tensor
    parents: Tensor | None = None

    @property
    def num_clusters(self) -> int:
        """K."""
        return len(self.centroids)


@dataclass(frozen=True, eq=False)
class TrainingLevels:
    """The levels of a hierarchy, finest first.

    Attributes:
        levels: One per level of the hierarchy.
    """

    levels: tuple[TrainingLevel, ...]


def training_levels(hierarchy: PrototypeHierarchy) -> TrainingLevels:
    """Bring the assignments of all levels to the CPU, once per E-step."""
    return TrainingLevels(tuple(map(_on_host, hierarchy.levels)))


def _on_host(level: PrototypeLevel) -> TrainingLevel:
    parents = level.parents
    return TrainingLevel(
        centroids=level.centroids,
        assignments=level.assignments.cpu(),
        concentration=level.concentration,
        parents=None if parents is None else parents.cpu(),
    )
