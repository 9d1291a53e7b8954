"""To which clusters of a run images belong, and how surely."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor

from ahpcl.core import PrototypeHierarchy
from ahpcl.core.clustering.assign import assign_points
from ahpcl.core.clustering.lineage import lineage
from ahpcl.core.metrics.neighbours import nearest_neighbours
from ahpcl.datasets.manifest import Manifest
from ahpcl.engine.training_index import INDEX, TrainingIndex
from ahpcl.evaluation.cluster_names import (
    Names,
    names_of,
    read_cluster_names,
)
from ahpcl.evaluation.cluster_table import Table, write_table

from .run_files import RunFiles


@dataclass(frozen=True, eq=False)
class AssignedLevel:
    """Where N images belong at one level.

    Attributes:
        num_clusters: K.
        clusters: Cluster of every image, (N,) int64.
        distances: Euclidean distance to its prototype on the unit sphere,
            from 0 to 2, (N,) float32.
        probabilities: How sure, from 0 to 1, (N,) float32: the share of that
            prototype in the softmax over all of the level, at the
            temperature phi of every cluster.
        phi: Concentration of that cluster, (N,) float32; small is dense.
        parents: Cluster of the next coarser level that holds most of the
            cluster (of nested levels: all of it), (N,) int64; None for the
            coarsest.
        cluster_names: Name of that cluster, (N,) text; empty without one.
    """

    num_clusters: int
    clusters: np.ndarray
    distances: np.ndarray
    probabilities: np.ndarray
    phi: np.ndarray
    parents: np.ndarray | None
    cluster_names: np.ndarray


@dataclass(frozen=True, eq=False)
class Assignment:
    """The clusters of N images at every level, finest first.

    Attributes:
        names: Name of every image.
        levels: Finest first.
        unlike: Mask, (N,) bool: images unlike anything that was trained on,
            farther from every prototype of the finest level than
            ``threshold``; None where the run keeps no threshold.
        threshold: That distance; None as above.
        threshold_rate: Share of held-out training images beyond it, which
            the threshold was not taken from: how often an image like those
            is called unlike them. None as above.
        nearest: Names of the nearest training images, nearest first, for
            every image; empty where the run does not keep them.
        nearest_distances: Their distances, (N, n) float32.
        missing: What the run does not keep, and what follows, in words.
        skipped: Names of images that cannot be read and are left out.
    """

    names: tuple[str, ...]
    levels: tuple[AssignedLevel, ...]
    unlike: np.ndarray | None
    threshold: float | None
    threshold_rate: float | None
    nearest: tuple[tuple[str, ...], ...]
    nearest_distances: np.ndarray
    missing: tuple[str, ...] = ()
    skipped: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.names)

    def level(self, num_clusters: int | None = None) -> AssignedLevel:
        """Return a level by its number of clusters; the finest by default.

        Raises:
            ValueError: If there is none.
        """
        if num_clusters is None:
            return self.levels[0]
        for found in self.levels:
            if found.num_clusters == num_clusters:
                return found
        counts = [found.num_clusters for found in self.levels]
        raise ValueError(
            f'expected one of the levels {counts}, got {num_clusters}'
        )

    def table(self) -> Table:
        """Return a row for every image, as ``export_clusters`` names them.

        Columns ``path``, and for every level ``k<K>_cluster``,
        ``k<K>_phi``, ``k<K>_distance``, ``k<K>_probability``,
        ``k<K>_parent`` but for the coarsest, and ``k<K>_name`` where clusters
        are named; ``unlike`` where there is a threshold; ``nearest_1`` and so
        on, and ``nearest_1_distance``, where the run names its images.
        """
        table: Table = dict(path=np.array(self.names, dtype=np.str_))
        for level in self.levels:
            name = f'k{level.num_clusters}'
            table[f'{name}_cluster'] = level.clusters
            table[f'{name}_phi'] = level.phi
            table[f'{name}_distance'] = level.distances
            table[f'{name}_probability'] = level.probabilities
            if level.parents is not None:
                table[f'{name}_parent'] = level.parents
            if any(level.cluster_names.tolist()):
                table[f'{name}_name'] = level.cluster_names
        if self.unlike is not None:
            table['unlike'] = self.unlike
        for place in range(self.nearest_distances.shape[1]):
            rows = [own[place] for own in self.nearest]
            number = place + 1
            table[f'nearest_{number}'] = np.array(rows, dtype=np.str_)
            table[f'nearest_{number}_distance'] = self.nearest_distances[
                :, place
            ]
        return table

    def save(self, path: str | os.PathLike) -> None:
        """Write :meth:`table` to a ``.csv``, ``.parquet`` or ``.npz``."""
        write_table(self.table(), Path(path))


class Assigner:
    """The prototypes of a run, and what it keeps of its images.

    Args:
        hierarchy: Prototypes, finest level first.
        index: What the run keeps of its images; None if nothing.
        linkage: How the levels were made.
        images: Names of the training images; empty if unknown.
        names: Names of clusters.
        source: The run, for messages.
    """

    def __init__(
        self,
        hierarchy: PrototypeHierarchy,
        index: TrainingIndex | None = None,
        *,
        linkage: str = 'independent',
        images: Sequence[str] = (),
        names: Names | None = None,
        source: str = 'the run',
    ) -> None:
        self.hierarchy = hierarchy.to('cpu')
        self.index = index
        self.linkage = linkage if index is None else index.linkage
        self.images = tuple(images)
        self.names = names or {}
        self.source = source
        levels = self.hierarchy.levels
        self._parents = [
            None if coarse is None else lineage(level, coarse).parents
            for level, coarse in zip(levels, [*levels[1:], None], strict=True)
        ]

    @classmethod
    def of(cls, files: RunFiles) -> Assigner:
        """Take the prototypes of a run.

        Raises:
            ValueError: If it has none, or ``clusters.csv`` is of other ones.
        """
        state = files.kept.get('hierarchy')
        if state is None:
            raise ValueError(
                f'expected a run with prototypes, got {files.path} without: '
                f'{_why_none(files.config)}; its images can be clustered all '
                'the same: ahpcl.cluster(encoder.embed(images)), or `ahpcl '
                f'cluster IMAGES --encoder {files.path}`'
            )
        hierarchy = PrototypeHierarchy.from_state_dict(state)
        index = files.kept.get(INDEX)
        images = files.kept.get('images')
        return cls(
            hierarchy,
            None if index is None else TrainingIndex.from_state_dict(index),
            linkage=linkage_of(files.config),
            images=() if images is None else _image_names(images),
            names=None
            if files.folder is None
            else read_cluster_names(files.folder, hierarchy.num_clusters),
            source=str(files.path),
        )

    def __call__(
        self,
        features: np.ndarray | Tensor,
        names: Sequence[str],
        *,
        nearest: int = 3,
        skipped: Sequence[str] = (),
    ) -> Assignment:
        """Assign images.

        Args:
            features: Vectors in the space of the prototypes, (N, D); they are
                normalised.
            names: Name of every image.
            nearest: How many training images to name, from 0.
            skipped: Names of images that are left out.

        Raises:
            ValueError: If the features do not fit, or ``nearest`` is
                negative.
        """
        if nearest < 0:
            raise ValueError(f'expected nearest of at least 0, got {nearest}')
        rows = torch.as_tensor(np.asarray(features)).float()
        if rows.ndim == 2:
            rows = F.normalize(rows, dim=1)
        found = assign_points(rows, self.hierarchy, linkage=self.linkage)
        levels = []
        for own, level, parents in zip(
            found, self.hierarchy.levels, self._parents, strict=True
        ):
            clusters = own.clusters
            levels.append(
                AssignedLevel(
                    num_clusters=level.num_clusters,
                    clusters=clusters.numpy(),
                    distances=own.distances.numpy(),
                    probabilities=own.probabilities.numpy(),
                    phi=level.concentration[clusters].float().numpy(),
                    parents=(
                        None if parents is None else parents[clusters].numpy()
                    ),
                    cluster_names=names_of(
                        self.names, level.num_clusters, clusters.numpy()
                    ),
                )
            )
        threshold = None if self.index is None else self.index.threshold
        unlike = None
        if threshold is not None:
            finest = self.hierarchy.levels[0].centroids.float()
            closest = torch.cat(
                [
                    torch.cdist(block, finest).amin(dim=1)
                    for block in rows.split(max(1, 2**24 // len(finest)))
                ]
            )
            unlike = (closest > threshold.distance).numpy()
        places, distances = self.neighbours(rows, nearest, found[0].clusters)
        return Assignment(
            names=tuple(names),
            levels=tuple(levels),
            unlike=unlike,
            threshold=None if threshold is None else threshold.distance,
            threshold_rate=None if threshold is None else threshold.measured,
            nearest=tuple(
                tuple(map(self.image_name, own)) for own in places.tolist()
            ),
            nearest_distances=distances.numpy(),
            missing=tuple(self.missing()),
            skipped=tuple(skipped),
        )

    def neighbours(
        self, rows: Tensor, number: int, finest: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Find the nearest training images.

        Args:
            rows: Unit rows of images, (N, D).
            number: How many, n.
            finest: Cluster of every image at the finest level, (N,); sought
                here if None. Where the run keeps no keys of its images, those
                named are the nearest to that prototype, and the distances
                are NaN.

        Returns:
            Places in the training set, (N, n) int64, and Euclidean
            distances, (N, n) float32; n is 0 where the run keeps nothing.
        """
        empty = torch.zeros(len(rows), 0, dtype=torch.long)
        if self.index is None or number == 0:
            return empty, empty.float()
        if self.index.keys is not None:
            cosines, places = nearest_neighbours(
                rows, self.index.keys.float(), number
            )
            return places, (2 - 2 * cosines).clamp(min=0).sqrt()
        assert self.index.exemplars is not None
        if finest is None:
            found = assign_points(rows, self.hierarchy, linkage=self.linkage)
            finest = found[0].clusters
        places = self.index.exemplars[0][finest, :number]
        return places, torch.full(places.shape, torch.nan)

    def image_name(self, place: int) -> str:
        """Return the name of a training image; ``image 17`` without one."""
        if place < len(self.images):
            return self.images[place]
        return f'image {place}'

    def missing(self) -> list[str]:
        """Say what the run does not keep."""
        said = []
        if self.index is None:
            said.append(
                f'{self.source} keeps nothing of its training images (it has '
                'not been trained to its end, or was written by ahpcl 0.1), '
                'so no nearest images and nothing unlike them are told; '
                'train it to its end, or for one more epoch (train.py '
                'CONFIG --resume, with train_cfg.max_epochs one higher)'
            )
        elif self.index.threshold is None:
            said.append(
                f'{self.source} was trained on too few images to tell what is '
                'unlike them'
            )
        if self.index is not None and self.index.keys is None:
            said.append(
                f'{self.source} keeps no keys of its many training images: '
                'those named are the nearest to the prototype'
            )
        if self.index is not None and not self.images:
            said.append(
                f'{self.source} does not name its training images: their '
                'places in the set are given'
            )
        return said


def linkage_of(config: Config) -> str:
    """Return how a run makes its levels, by its config."""
    for hook in config.get('custom_hooks') or []:
        if str(hook.get('type', '')).endswith('AdaptiveClusterHook'):
            return str(hook.get('linkage') or 'independent')
    return 'independent'


def _image_names(state: Any) -> tuple[str, ...]:
    read = getattr(Manifest, 'from_state_dict', None)
    return () if read is None else tuple(read(state).names)


def _why_none(config: Config) -> str:
    kind = str(config.model.get('type'))
    if kind.rpartition('.')[2] == 'AHPCL':
        return 'it has not come to the end of its warm-up'
    return f'it was trained by another method ({kind})'
