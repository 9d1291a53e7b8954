"""A hierarchy of clusters on given features or a frozen encoder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core import ClusterLadder, PrototypeHierarchy, build_hierarchy
from ahpcl.core.metrics import KindCount, count_kinds
from ahpcl.datasets.manifest import Manifest
from ahpcl.engine.training_index import INDEX, TrainingIndex
from ahpcl.evaluation.cluster_table import write_table
from ahpcl.evaluation.run_data import fresh_rungs
from ahpcl.utils.atomic_write import atomic_write

from .assignment import Assigner, Assignment
from .cluster_report import write_cluster_report
from .encoder import Embedded, Encoder, load
from .export import export_encoder
from .frozen import frozen_files, is_named
from .inferencers import BATCH_SIZE
from .run_files import PORTABLE_NAME, RunFiles

_IMAGES_PER_CLUSTER = 12
_RATIO = 3.0


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of N images at several levels.

    Attributes:
        features: What was clustered, as given, (N, D) float32.
        assignment: Where every image belongs; see
            :class:`ahpcl.api.assignment.Assignment`.
        hierarchy: Prototypes, finest level first.
        encoder: Encoder of the images; None for given features.
        skipped: Names of images that cannot be read and are left out.
    """

    features: np.ndarray
    assignment: Assignment
    hierarchy: PrototypeHierarchy
    encoder: Encoder | None
    skipped: tuple[str, ...]
    _assigner: Assigner
    _seed: int

    @cached_property
    def kinds(self) -> KindCount:
        """How many kinds there are: number, interval, reason and evidence.

        It is counted at the first look, which takes seconds, whatever the
        levels are; see :func:`ahpcl.core.metrics.count_kinds`.
        """
        return count_kinds(torch.from_numpy(self.features), seed=self._seed)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images, or of the rows."""
        return self.assignment.names

    @property
    def num_clusters(self) -> tuple[int, ...]:
        """Cluster counts of the levels, finest first."""
        return self.hierarchy.num_clusters

    def labels(self, num_clusters: int | None = None) -> np.ndarray:
        """Return the cluster of every image at a level, (N,) int64.

        Args:
            num_clusters: K of the level; None for the finest.
        """
        return self.assignment.level(num_clusters).clusters

    def assign(self, items: Any, *, nearest: int = 3) -> Assignment:
        """Assign others: images, or features of the same width.

        Args:
            items: Features (M, D) where features were given; images, see
                ``Encoder.embed``, where an encoder was.
            nearest: How many of the nearest clustered images to name.

        Raises:
            ValueError: If they do not fit.
        """
        if self.encoder is not None and not is_features(items):
            made = self.encoder.embed(items, return_names=True)
            assert isinstance(made, Embedded)
            return self._assigner(made.features, made.names, nearest=nearest)
        rows = checked_features(items, self.features.shape[1])
        names = [f'row {place}' for place in range(len(rows))]
        return self._assigner(rows, names, nearest=nearest)

    def save(
        self, folder: str | os.PathLike, *, report: bool = True
    ) -> list[Path]:
        """Write what was found.

        ``images.csv``, a row for every image; ``features.npz``;
        ``kinds.json``, how many kinds there are; where images were given
        ``encoder.safetensors``, with which :func:`ahpcl.load` takes the
        folder for a run, and ``report.html``.

        Args:
            folder: Folder to write to; it is made.
            report: Whether to write the report.

        Returns:
            The files.
        """
        out = Path(folder)
        files = [out / 'images.csv', out / 'features.npz']
        self.assignment.save(files[0])
        names = np.array(self.names, dtype=np.str_)
        write_table(dict(path=names, feature=self.features), files[1])
        files.append(out / 'kinds.json')
        with atomic_write(files[-1]) as beside:
            text = json.dumps(self.kinds.as_dict(), indent=1)
            beside.write_text(text + '\n', 'utf-8')
        if self.encoder is None:
            return files
        files.append(out / PORTABLE_NAME)
        export_encoder(
            self.encoder.files,
            self.encoder.parts,
            self.encoder.size,
            files[-1],
        )
        files.append(files[-1].with_name(f'{PORTABLE_NAME}.md'))
        if report:
            files.append(out / 'report.html')
            self.report(files[-1])
        return files

    def report(
        self, path: str | os.PathLike, *, max_images: int = 2000
    ) -> Path:
        """Write one HTML page: kinds, sizes, an explorer, a gallery.

        Args:
            path: File to write.
            max_images: Most images that are shown.

        Raises:
            ValueError: If features were given, not images.
        """
        if self.encoder is None:
            raise ValueError(
                'expected clusters of images to show, got some of features; '
                'give the images and encoder=... to ahpcl.cluster'
            )
        return write_cluster_report(
            path,
            self.hierarchy,
            torch.from_numpy(self.features),
            self.names,
            self.encoder.config,
            str(self.encoder.files.path),
            max_images,
            self.kinds,
        )


def cluster(
    items: Any,
    *,
    encoder: str | os.PathLike | Encoder | None = None,
    weights: str | os.PathLike | None = None,
    levels: Sequence[int] | None = None,
    linkage: str = 'agglomerative',
    names: Sequence[str] | None = None,
    image_size: int | None = None,
    batch_size: int = BATCH_SIZE,
    on_unreadable: str = 'raise',
    device: str | torch.device | None = None,
    seed: int = 0,
) -> Clusters:
    """Cluster features, or images by an encoder; see :func:`ahpcl.cluster`.

    Args:
        items: Features (N, D), an array or a tensor; or images, see
            ``Encoder.embed``.
        encoder: For images: ``timm:NAME``, ``torchvision:NAME``, a run, a
            checkpoint, or what :func:`ahpcl.load` gave.
        weights: File of weights for an encoder by name, or 'random'.
        levels: Cluster counts; None for some that N allows, from one cluster
            for a dozen images down to two, a third from level to level.
        linkage: 'agglomerative' or 'divisive', nested levels, or
            'independent'.
        names: Names of the rows of features.
        image_size: Side in px for an encoder by name; None for its own.
        batch_size: Images at once.
        on_unreadable: 'raise', or 'skip' what is no image.
        device: Device to compute on; None for a GPU where there is one.
        seed: Seed of all random draws.

    Raises:
        ValueError: If the features are no finite (N, D), an argument does
            not go with them, or there are too few images.
        ImportError: If the library of an encoder is not installed.
    """
    found: Encoder | None = None
    skipped: tuple[str, ...] = ()
    if is_features(items):
        if encoder is not None or weights is not None:
            raise ValueError(
                'expected either features, or images and an encoder, got '
                'features and an encoder'
            )
        rows = checked_features(items)
        known = tuple(names or (f'row {i}' for i in range(len(rows))))
        if len(known) != len(rows):
            raise ValueError(
                f'expected a name for each of {len(rows)} rows, got '
                f'{len(known)}'
            )
    else:
        if names is not None:
            raise ValueError('expected names with features alone')
        found = _encoder(encoder, weights, image_size, device, seed)
        found = found.fitted_to(items)
        made = found.embed(
            items,
            batch_size=batch_size,
            on_unreadable=on_unreadable,
            return_names=True,
        )
        assert isinstance(made, Embedded)
        rows, known, skipped = made
    points = F.normalize(torch.from_numpy(rows), dim=1)
    counts = _counts(levels, len(points))
    hierarchy = build_hierarchy(points, counts, linkage=linkage, seed=seed)
    index = TrainingIndex.of(
        points, hierarchy, linkage=linkage, seed=seed, space='features'
    )
    if found is not None:
        found = _with_clusters(found, hierarchy, index, known)
    assigner = Assigner(
        hierarchy, index, images=known, source='this clustering'
    )
    return Clusters(
        features=rows,
        assignment=assigner(points, known, nearest=0, skipped=skipped),
        hierarchy=hierarchy,
        encoder=found,
        skipped=skipped,
        _assigner=assigner,
        _seed=seed,
    )


def is_features(items: Any) -> bool:
    """Tell whether something is features (N, D), not images."""
    if isinstance(items, Tensor):
        return items.is_floating_point() and items.ndim <= 2
    return (
        isinstance(items, np.ndarray)
        and items.dtype.kind == 'f'
        and items.ndim <= 2
    )


def checked_features(items: Any, width: int | None = None) -> np.ndarray:
    """Return features as (N, D) float32 on the CPU.

    Raises:
        ValueError: If they are of another shape or width, or not finite.
    """
    if not is_features(items):
        raise ValueError(
            'expected features (N, D) of floating point, got '
            f'{getattr(items, "dtype", type(items).__name__)} '
            f'{tuple(getattr(items, "shape", ()))}'
        )
    if isinstance(items, Tensor):
        items = items.detach().cpu().float().numpy()
    if items.ndim != 2 or 0 in items.shape:
        raise ValueError(
            f'expected features of shape (N, D), got {tuple(items.shape)}'
        )
    if width is not None and items.shape[1] != width:
        raise ValueError(
            f'expected features of width {width}, as those that were '
            f'clustered, got {items.shape[1]}'
        )
    bad = np.flatnonzero(~np.isfinite(items).all(axis=1))
    if len(bad):
        raise ValueError(
            f'expected finite features, got NaN or infinity in {len(bad)} of '
            f'{len(items)} rows, row {bad[0]} first; leave them out'
        )
    return np.ascontiguousarray(items, dtype=np.float32)


def _encoder(
    encoder: str | os.PathLike | Encoder | None,
    weights: str | os.PathLike | None,
    image_size: int | None,
    device: str | torch.device | None,
    seed: int,
) -> Encoder:
    if encoder is None:
        raise ValueError(
            'expected features (N, D) of floating point, or images with '
            "encoder='timm:resnet18' (weights=FILE), a run or a checkpoint, "
            'got no encoder'
        )
    if is_named(encoder):
        assert isinstance(encoder, str)
        files = frozen_files(
            encoder, weights, image_size=image_size, seed=seed
        )
        return Encoder(files, device=device)
    if weights is not None or image_size is not None:
        raise ValueError(
            'expected weights and image_size with an encoder by name alone, '
            f'got them with {encoder!r}'
        )
    if isinstance(encoder, Encoder):
        return encoder
    return load(encoder, device=device)


def _counts(levels: Sequence[int] | None, number: int) -> tuple[int, ...]:
    if number < 2:
        raise ValueError(
            f'expected at least 2 images to cluster, got {number}'
        )
    if levels is not None:
        return tuple(levels)
    if number < 2 * _IMAGES_PER_CLUSTER:
        return fresh_rungs(number) if number >= 50 else (2,)
    return ClusterLadder.auto(
        number,
        window=1,
        min_images_per_cluster=_IMAGES_PER_CLUSTER,
        ratio=_RATIO,
    ).rungs


def _with_clusters(
    encoder: Encoder,
    hierarchy: PrototypeHierarchy,
    index: TrainingIndex,
    names: Sequence[str],
) -> Encoder:
    """Return the encoder with these clusters, in its pooled features."""
    files: RunFiles = replace(
        encoder.files,
        folder=None,
        state={
            key: value
            for key, value in encoder.files.state.items()
            if key.startswith('backbone.')
        },
        kept={
            'hierarchy': hierarchy.state_dict(),
            INDEX: index.state_dict(),
            'images': Manifest.of(list(names), _root(names)).state_dict(),
        },
    )
    return Encoder(files, device=encoder.device)


def _root(names: Sequence[str]) -> str:
    """Return the folder that all images are in; empty where there is none."""
    try:
        return os.path.commonpath([os.path.dirname(name) for name in names])
    except ValueError:  # absolute paths and others, or other drives
        return ''
