"""Clusters on a frozen encoder as one page."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ahpcl.core import PrototypeHierarchy
from ahpcl.core.metrics import KindCount
from ahpcl.datasets.decode import read_image
from ahpcl.evaluation.feature_set import FeatureSet
from ahpcl.evaluation.images import shown
from ahpcl.evaluation.run_data import RunData
from ahpcl.visualization.report import (
    explorer_part,
    gallery_part,
    write_page,
)
from ahpcl.visualization.report_explorer import explorer
from ahpcl.visualization.report_kinds import kinds_part
from ahpcl.visualization.report_markup import (
    escape,
    facts,
    page,
    paragraph,
    section,
)
from ahpcl.visualization.report_quality import clusters

from .preprocessing import Preprocessing


class ClusteredImages(RunData):
    """What a report asks of a run, of images that were clustered.

    Args:
        hierarchy: Their clusters.
        features: Pooled features, (N, D).
        paths: Files of the images.
        config: What the encoder is built from.
        name: Name of the encoder.
    """

    def __init__(
        self,
        hierarchy: PrototypeHierarchy,
        features: Tensor,
        paths: tuple[str, ...],
        config: Config,
        name: str,
    ) -> None:
        # Nothing is extracted: what a run would find out is known.
        number = len(features)
        self.__dict__.update(
            config=config,
            _pixels=Preprocessing.of(config).pixels,
            checkpoint=None,
            content={},
            name=name,
            own_prototypes=False,
            # What is known of the images besides: nothing.
            training_loader=SimpleNamespace(dataset=None),
            hierarchy=hierarchy.to('cpu'),
            training=FeatureSet(
                features=features,
                labels=torch.full((number,), -1),
                query=torch.zeros(number, dtype=torch.bool),
                paths=paths,
            ),
        )

    def image(self, index: int) -> np.ndarray:
        """Return an image, (H, W, 3) uint8 RGB; grey where it is no file."""
        path = Path(self.training.paths[index])
        if not path.is_file():
            return np.full((64, 64, 3), 200, np.uint8)
        return shown(read_image(path, self._pixels))


def write_cluster_report(
    path: str | os.PathLike,
    hierarchy: PrototypeHierarchy,
    features: Tensor,
    paths: tuple[str, ...],
    config: Config,
    name: str,
    max_images: int,
    kinds: KindCount,
) -> Path:
    """Write the page.

    Args:
        path: File to write.
        hierarchy: The clusters.
        features: Pooled features of the images, (N, D).
        paths: Files of the images.
        config: What the encoder is built from.
        name: Name of the encoder.
        max_images: Most images that are shown.
        kinds: How many kinds there are.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be written.
        ValueError: If ``max_images`` is not positive.
    """
    run = ClusteredImages(hierarchy, features, paths, config, name)
    found = explorer(run, max_images)
    about = [
        ('encoder', name),
        ('backbone', config.model.backbone.get('model_name')),
        ('images', len(paths)),
        ('clusters (K)', ', '.join(map(str, hierarchy.num_clusters))),
    ]
    parts = {
        ('about', 'About'): facts(
            [(key, value) for key, value in about if value is not None]
        ),
        ('kinds', 'How many kinds?'): kinds_part(kinds),
        ('clusters', 'Clusters'): clusters(run),
        ('explorer', 'Hierarchy explorer'): explorer_part(run, found),
        ('gallery', 'Prototype gallery'): gallery_part(found),
    }
    title = Path(path).resolve().parent.name
    written = datetime.now().strftime('%Y-%m-%d %H:%M')
    links = ''.join(
        f'<li><a href="#{key}">{escape(head)}</a></li>' for key, head in parts
    )
    head = (
        f'<header><h1>{escape(title)}</h1>'
        + paragraph(f'{len(paths):,} images; report written {written}')
        + f'<nav aria-label="Parts"><ul>{links}</ul></nav></header>'
    )
    body = '\n'.join(
        section(key, name, content) for (key, name), content in parts.items()
    )
    write_page(
        page(
            title=f'{title}: report',
            main=f'{head}\n<main>{body}</main>',
            data=found.data,
            sheets=found.sheets,
        ),
        path,
    )
    return Path(path)
