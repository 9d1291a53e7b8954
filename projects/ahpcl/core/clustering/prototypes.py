"""What an E-step hands to the head: prototypes at several granularities."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ['PrototypeHierarchy', 'PrototypeLevel']


@dataclass(frozen=True, eq=False)
class PrototypeLevel:
    """The clusters of one level. Frozen and checked; tensors are not copied.

    A cluster may have no points: that is honest where the features have
    fewer distinct points than clusters. Centroids and concentration are on
    one device; assignments and parents are there too, or both on the CPU.

    Attributes:
        centroids: Prototypes, unit rows, (K, D) floating point.
        assignments: Cluster of every image, (N,) int64 in [0, K).
        concentration: Temperature phi > 0 of every cluster, (K,).
        parents: Cluster of the next coarser level that every cluster
            belongs to, (K,) int64, or None where levels are not nested.
        objective: Mean squared distance of the k-means, or None.
        num_repaired: Clusters that lost all their points on the way and
            were repaired.

    Raises:
        ValueError: If shapes, types, devices or ranges do not fit.
    """

    centroids: Tensor
    assignments: Tensor
    concentration: Tensor
    parents: Tensor | None = None
    objective: float | None = None
    num_repaired: int = 0

    def __post_init__(self) -> None:
        if self.centroids.ndim != 2 or 0 in self.centroids.shape:
            raise ValueError(
                f'expected centroids of shape (K, D), not empty, got '
                f'{tuple(self.centroids.shape)}'
            )
        if not self.centroids.is_floating_point():
            raise ValueError(
                f'expected floating-point centroids, got '
                f'{self.centroids.dtype}'
            )
        norms = self.centroids.detach().float().norm(dim=1)
        # Written so that NaN fails too.
        wrong = ~((norms - 1).abs() <= 1e-3)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise ValueError(
                f'expected unit centroids (to 1e-3), got norm '
                f'{norms[row]:.4g} in row {row}; '
                f'torch.nn.functional.normalize(centroids, dim=1) makes them '
                f'so'
            )
        _check_index('assignments', self.assignments, self.num_clusters)
        phi = self.concentration
        if phi.shape != (self.num_clusters,) or not phi.is_floating_point():
            raise ValueError(
                f'expected a floating-point concentration of shape '
                f'({self.num_clusters},), got {phi.dtype} '
                f'{tuple(phi.shape)}'
            )
        bad = ~(torch.isfinite(phi) & (phi > 0))
        if bool(bad.any()):
            raise ValueError(
                f'expected a finite concentration above 0, got '
                f'{phi[bad][0].item()} in cluster {int(bad.nonzero()[0])}'
            )
        if self.parents is not None:
            _check_index('parents', self.parents, None)
            if len(self.parents) != self.num_clusters:
                raise ValueError(
                    f'expected one parent for each of {self.num_clusters} '
                    f'clusters, got {len(self.parents)}'
                )
        self._check_devices()
        if self.num_repaired < 0:
            raise ValueError(
                f'expected num_repaired >= 0, got {self.num_repaired}'
            )

    def _check_devices(self) -> None:
        home = self.centroids.device
        where = self.assignments.device
        parents = where if self.parents is None else self.parents.device
        if (
            self.concentration.device != home
            or where not in (home, torch.device('cpu'))
            or parents != where
        ):
            raise ValueError(
                f'expected all tensors on one device, or assignments and '
                f'parents on the CPU, got centroids on {home}, concentration '
                f'on {self.concentration.device}, assignments on {where} and '
                f'parents on {parents}'
            )

    @property
    def num_clusters(self) -> int:
        """K."""
        return len(self.centroids)

    def sizes(self) -> Tensor:
        """Images of every cluster, (K,) int64."""
        return torch.bincount(self.assignments, minlength=self.num_clusters)

    def distances(self, features: Tensor) -> Tensor:
        """Euclidean distance of every image to its centroid, (N,) float32.

        Args:
            features: Features of the images, (N, D).
        """
        own = self.centroids.float()[self.assignments]
        found: Tensor = (features - own).norm(dim=1)
        return found

    def to(self, device: torch.device | str) -> PrototypeLevel:
        """The level on another device; itself where it is there already."""
        places = {self.centroids.device, self.assignments.device}
        if places == {torch.device(device)}:
            return self
        return replace(
            self,
            centroids=self.centroids.to(device),
            assignments=self.assignments.to(device),
            concentration=self.concentration.to(device),
            parents=None if self.parents is None else self.parents.to(device),
        )

    def with_indices_on_cpu(self) -> PrototypeLevel:
        """The level with assignments and parents in the CPU's memory.

        Which prototypes are a batch's own, and which others are drawn, is
        then known without waiting for a GPU.
        """
        if self.assignments.device.type == 'cpu':
            return self
        return replace(
            self,
            assignments=self.assignments.cpu(),
            parents=None if self.parents is None else self.parents.cpu(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers; loads with `weights_only=True`."""
        return {
            'centroids': self.centroids,
            'assignments': self.assignments,
            'concentration': self.concentration,
            'parents': self.parents,
            'objective': self.objective,
            'num_repaired': self.num_repaired,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> PrototypeLevel:
        """The level that `state_dict` described.

        Raises:
            ValueError: If a key is missing or unknown, or the content does
                not fit.
        """
        expected = set(cls.__dataclass_fields__)
        if set(state) != expected:
            raise ValueError(
                f'expected the keys {sorted(expected)}, got {sorted(state)}'
            )
        return cls(**state)


class PrototypeHierarchy:
    """Levels of one E-step, finest first. Immutable and checked.

    Attributes:
        levels: Tuple of `PrototypeLevel`, cluster counts non-increasing,
            all of the same N and D.

    Raises:
        ValueError: If there is no level, the order or the shapes do not
            fit, or parents disagree with the assignments of any image.
    """

    __slots__ = ('levels',)
    levels: tuple[PrototypeLevel, ...]

    def __init__(self, levels: Iterable[PrototypeLevel]) -> None:
        levels = tuple(levels)
        if not levels:
            raise ValueError('expected at least one level, got none')
        first = levels[0]
        for level in levels[1:]:
            if level.assignments.shape != first.assignments.shape:
                raise ValueError(
                    f'expected the same number of images in all levels, got '
                    f'{[len(lv.assignments) for lv in levels]}'
                )
            if level.centroids.shape[1] != first.centroids.shape[1]:
                raise ValueError(
                    f'expected the same dimension in all levels, got '
                    f'{[lv.centroids.shape[1] for lv in levels]}'
                )
        counts = [level.num_clusters for level in levels]
        if counts != sorted(counts, reverse=True):
            raise ValueError(
                f'expected levels finest first, got cluster counts {counts}; '
                f'sort them by num_clusters, descending'
            )
        for fine, coarse in itertools.pairwise(levels):
            _check_nested(fine, coarse)
        if levels[-1].parents is not None:
            raise ValueError(
                'expected no parents in the coarsest level: there is no '
                'coarser one they could point to'
            )
        object.__setattr__(self, 'levels', levels)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            f'a PrototypeHierarchy is immutable; build a new one instead of '
            f'setting {name}'
        )

    def __iter__(self) -> Iterator[PrototypeLevel]:
        return iter(self.levels)

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, position: int) -> PrototypeLevel:
        return self.levels[position]

    def __repr__(self) -> str:
        return f'PrototypeHierarchy(num_clusters={self.num_clusters})'

    def __reduce__(self) -> tuple[object, tuple[object]]:
        return PrototypeHierarchy, (self.levels,)

    @property
    def num_clusters(self) -> tuple[int, ...]:
        """Cluster counts, finest first."""
        return tuple(level.num_clusters for level in self.levels)

    def level(self, num_clusters: int) -> PrototypeLevel:
        """The (first) level with that many clusters.

        Raises:
            ValueError: If there is none.
        """
        for level in self.levels:
            if level.num_clusters == num_clusters:
                return level
        raise ValueError(
            f'expected one of the cluster counts {self.num_clusters}, got '
            f'{num_clusters}'
        )

    def to(self, device: torch.device | str) -> PrototypeHierarchy:
        """The hierarchy on another device."""
        return PrototypeHierarchy(level.to(device) for level in self.levels)

    def with_indices_on_cpu(self) -> PrototypeHierarchy:
        """The hierarchy of `PrototypeLevel.with_indices_on_cpu`."""
        return PrototypeHierarchy(
            level.with_indices_on_cpu() for level in self.levels
        )

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers; loads with `weights_only=True`."""
        return {'levels': [level.state_dict() for level in self.levels]}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> PrototypeHierarchy:
        """The hierarchy that `state_dict` described.

        Raises:
            ValueError: If a key is missing or the content does not fit.
        """
        if set(state) != {'levels'}:
            raise ValueError(
                f"expected the key 'levels' alone, got {sorted(state)}"
            )
        return cls(
            PrototypeLevel.from_state_dict(level) for level in state['levels']
        )


def _check_index(name: str, index: Tensor, upper: int | None) -> None:
    """A vector of int64 in [0, upper)."""
    if index.ndim != 1 or index.dtype != torch.long:
        raise ValueError(
            f'expected {name} to be one-dimensional int64, got '
            f'{index.dtype} {tuple(index.shape)}'
        )
    if len(index) == 0:
        raise ValueError(f'expected {name} not to be empty')
    low, high = (int(v) for v in torch.aminmax(index))
    if low < 0 or (upper is not None and high >= upper):
        limit = 'without a bound' if upper is None else f'to {upper - 1}'
        raise ValueError(
            f'expected {name} from 0 {limit}, got {low} to {high}'
        )


def _check_nested(fine: PrototypeLevel, coarse: PrototypeLevel) -> None:
    """Parents point into the coarser level and hold for every image."""
    if fine.parents is None:
        return
    _check_index('parents', fine.parents, coarse.num_clusters)
    wrong = fine.parents[fine.assignments] != coarse.assignments
    if bool(wrong.any()):
        raise ValueError(
            f'expected the coarse cluster of every image to be the parent of '
            f'its fine one, got {int(wrong.sum())} images of '
            f'{len(wrong)} where it is not, image {int(wrong.nonzero()[0])} '
            f'first ({fine.num_clusters} to {coarse.num_clusters} clusters)'
        )
