"""An encoder that was trained: load it, and use it on any images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config

from ahpcl.core import PrototypeHierarchy
from ahpcl.evaluation.cluster_names import Names, write_cluster_names

from .assignment import Assigner, Assignment
from .cluster_inferencer import ClusterInferencer
from .encoder_parts import EncoderParts
from .export import export_encoder
from .foreign_pixels import pixels_for, with_pixels
from .image_items import Layout, list_items
from .inferencers import BATCH_SIZE, FeatureInferencer
from .run_files import RunFiles, read_run


class Embedded(NamedTuple):
    """Features with the names of their images.

    Args:
        features: (N, D) float32.
        names: Name of every row.
        skipped: Names of images that cannot be read and are left out.
    """

    features: np.ndarray
    names: tuple[str, ...]
    skipped: tuple[str, ...]


class Similar(NamedTuple):
    """The training images nearest to an image, nearest first.

    Args:
        name: Name of the image.
        images: Names of training images.
        distances: Euclidean, between unit rows in the space of the
            prototypes; NaN where the run keeps no keys of its images.
    """

    name: str
    images: tuple[str, ...]
    distances: np.ndarray


def load(
    path: str | os.PathLike,
    *,
    config: str | os.PathLike | Config | dict | None = None,
    device: str | torch.device | None = None,
) -> Encoder:
    """Load the encoder of a run; see :func:`ahpcl.load`.

    Args:
        path: Folder of a run, a checkpoint, or a safetensors file that
            :meth:`Encoder.export` wrote.
        config: Config of a checkpoint that holds none, or in place of it.
        device: Device to compute on; None for a GPU where there is one.

    Raises:
        ValueError: If there is no such run, or it cannot be read.
    """
    return Encoder(read_run(path, config), device=device)


class Encoder:
    """The encoder of a run, and its prototypes where it has any.

    Needs no training images: preprocessing, weights and prototypes are those
    of the checkpoint.

    Args:
        files: What is in the run.
        device: Device to compute on; None for a GPU where there is one.

    Attributes:
        files: As given.
    """

    def __init__(
        self, files: RunFiles, device: str | torch.device | None = None
    ) -> None:
        self.files = files
        self._features = FeatureInferencer(files, device=device)
        self._clusters: ClusterInferencer | None = None

    def __repr__(self) -> str:
        counts = None if self.hierarchy is None else self.num_clusters
        return (
            f'Encoder({str(self.files.path)!r}, '
            f'size={self.size}, width={self.width}, clusters={counts})'
        )

    @property
    def config(self) -> Config:
        """The config of the run."""
        return self.files.config

    @property
    def parts(self) -> EncoderParts:
        """The modules themselves, for those who compute with them."""
        return self._features.model

    @property
    def device(self) -> torch.device:
        """The device that is computed on."""
        return next(self.parts.parameters()).device

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that images are brought to, in px."""
        return self._features.pipeline.size

    @property
    def channels(self) -> int:
        """Number of bands of the images."""
        return self._features.pipeline.channels

    @property
    def width(self) -> int:
        """Number of features D of an image, in the space 'features'."""
        return self._width('features')

    @property
    def has_prototypes(self) -> bool:
        """Whether the run has prototypes, so that images can be assigned."""
        return self.files.kept.get('hierarchy') is not None

    @property
    def hierarchy(self) -> PrototypeHierarchy | None:
        """The prototypes, finest level first; None where there are none."""
        return self._assigner.hierarchy if self.has_prototypes else None

    @property
    def num_clusters(self) -> tuple[int, ...]:
        """Cluster counts of the levels, finest first; empty without any."""
        found = self.hierarchy
        return () if found is None else found.num_clusters

    @property
    def training_images(self) -> tuple[str, ...]:
        """Names of the training images; empty where the run has no list."""
        return self._assigner.images if self.has_prototypes else ()

    def embed(
        self,
        items: Any,
        *,
        space: str = 'features',
        batch_size: int = BATCH_SIZE,
        layout: Layout | None = None,
        on_unreadable: str = 'raise',
        return_names: bool = False,
    ) -> np.ndarray | Embedded:
        """Return the features of images.

        Args:
            items: Paths of images or folders, Pillow images, arrays or
                tensors, or a sequence of these; see
                :func:`ahpcl.api.image_items.list_items`.
            space: 'features', the pooled features of the query backbone, by
                which everything is evaluated; or 'prototypes', the key
                encoder's projection, unit rows, in which clusters live.
            batch_size: Images at once.
            layout: 'HWC' or 'CHW', for arrays that could be either.
            on_unreadable: 'raise', or 'skip' what is no image, with
                ``return_names=True``, as rows are missing then.
            return_names: Return :class:`Embedded`.

        Returns:
            (N, D) float32, in the order of the items; a folder's images are
            sorted by path.

        Raises:
            ValueError: If something is no image, there is none, or an option
                is unknown.
            FloatingPointError: If a feature is NaN or infinite.

        Example:
            >>> features = encoder.embed(['a.jpg', array, 'folder/'])
        """  # doctest: +SKIP
        if on_unreadable == 'skip' and not return_names:
            raise ValueError(
                "expected return_names=True with on_unreadable='skip', got "
                'False: without names nobody knows which rows are missing'
            )
        found = self._features(
            items,
            batch_size=batch_size,
            space=space,
            layout=layout,
            on_unreadable=on_unreadable,
        )
        if not return_names:
            return found['features']
        return Embedded(found['features'], found['names'], found['skipped'])

    def assign(
        self,
        items: Any,
        *,
        nearest: int = 3,
        batch_size: int = BATCH_SIZE,
        layout: Layout | None = None,
        on_unreadable: str = 'raise',
    ) -> Assignment:
        """Tell to which clusters images belong, at every level.

        Args:
            items: See :meth:`embed`.
            nearest: How many of the nearest training images to name.
            batch_size: Images at once.
            layout: 'HWC' or 'CHW', for arrays that could be either.
            on_unreadable: 'raise', or 'skip' what is no image.

        Raises:
            ValueError: See :meth:`embed`; or if the run has no prototypes.
        """
        found = self._cluster_inferencer(
            items,
            batch_size=batch_size,
            nearest=nearest,
            layout=layout,
            on_unreadable=on_unreadable,
        )
        return found['assignment']

    def fitted_to(self, items: Any, layout: Layout | None = None) -> Encoder:
        """Return an encoder that has a range for the depth of these images.

        Images of a depth that the run does not know get a range by all
        images of a call. Of the encoder that this gives they keep that of
        these images, in every call and after it was exported.

        Args:
            items: See :meth:`embed`.
            layout: See there.
        """
        pipeline = self._features.pipeline
        listed = list_items(items, layout, pipeline.channels)
        pixels = pixels_for(pipeline.pixels, listed, str(self.files.path))
        if pixels == pipeline.pixels:
            return self
        return Encoder(with_pixels(self.files, pixels), device=self.device)

    def similar(
        self,
        items: Any,
        *,
        top: int = 20,
        layout: Layout | None = None,
    ) -> list[Similar]:
        """Find the training images nearest to images.

        Args:
            items: See :meth:`embed`.
            top: How many to find.
            layout: 'HWC' or 'CHW', for arrays that could be either.

        Raises:
            ValueError: See :meth:`assign`; or if the run keeps nothing of
                its images.
        """
        if top < 1:
            raise ValueError(f'expected top of at least 1, got {top}')
        assigner = self._assigner
        if assigner.index is None:
            raise ValueError(
                f'expected a finished run, got: {assigner.missing()[0]}. '
                'Where the images are there, tools/analysis_tools/'
                'find_similar.py extracts their features'
            )
        made = self.embed(
            items, space='prototypes', layout=layout, return_names=True
        )
        assert isinstance(made, Embedded)
        rows = F.normalize(torch.from_numpy(made.features), dim=1)
        places, distances = assigner.neighbours(rows, top)
        return [
            Similar(name, tuple(map(assigner.image_name, own)), far.numpy())
            for name, own, far in zip(
                made.names, places.tolist(), distances, strict=True
            )
        ]

    def name_clusters(self, names: Names) -> Path:
        """Name clusters, in ``clusters.csv`` beside the run.

        Args:
            names: (number of clusters K of the level, cluster) to a name;
                an empty name takes one away. Other names stay.

        Returns:
            The file.

        Raises:
            ValueError: If the run has no such level or cluster.

        Example:
            >>> encoder.name_clusters({(10, 3): 'cats'})
        """  # doctest: +SKIP
        assigner = self._assigner
        for level, cluster in names:
            known = assigner.hierarchy.level(level).num_clusters
            if not 0 <= cluster < known:
                raise ValueError(
                    f'expected a cluster from 0 to {known - 1} of level '
                    f'{level}, got {cluster}'
                )
        merged = {**assigner.names, **names}
        assigner.names = {key: name for key, name in merged.items() if name}
        if self.files.folder is None:
            raise ValueError(
                'expected a run in a folder to name its clusters, got one '
                'that is not saved; save it and load it from there'
            )
        return write_cluster_names(self.files.folder, assigner.names)

    def export(
        self,
        path: str | os.PathLike,
        *,
        to: str | None = None,
        space: str = 'features',
        preprocess: bool = False,
        licence: str = 'unknown',
    ) -> Path:
        """Write the encoder for another library, with a model card beside it.

        Args:
            path: File to write; it is replaced.
            to: 'onnx', 'safetensors' (what :func:`ahpcl.load` reads, with
                prototypes and all), 'timm', 'torchvision' or 'mmpretrain';
                None tells it from the ending.
            space: What an ONNX file gives: 'features' or 'prototypes'.
            preprocess: Make the normalisation part of an ONNX file: uint8
                (B, H, W, 3) goes in.
            licence: What the model card says of the licence, such as
                'apache-2.0'.

        Returns:
            The file; its card is the same with ``.md`` behind.

        Raises:
            ValueError: If the format is unknown, or that library has no such
                encoder.
            ImportError: If a library for the format is not installed.

        Example:
            >>> encoder.export('encoder.onnx', preprocess=True)
        """  # doctest: +SKIP
        if space == 'prototypes':
            self._features.check_prototypes_space()
        return export_encoder(
            self.files,
            self.parts,
            self.size,
            path,
            to=to,
            space=space,
            preprocess=preprocess,
            licence=licence,
        )

    # ---- helpers --------------------------------------------------------

    @property
    def _cluster_inferencer(self) -> ClusterInferencer:
        if self._clusters is None:
            self._clusters = ClusterInferencer.sharing(self._features)
        return self._clusters

    @property
    def _assigner(self) -> Assigner:
        return self._cluster_inferencer.assigner

    @torch.no_grad()
    def _width(self, space: str) -> int:
        size = self.size or (32, 32)
        blank = np.zeros((*size, self.channels), np.uint8)
        return self.embed(blank, space=space, layout='HWC').shape[1]
