"""AHPCL: adaptive hierarchical prototypical contrastive learning.

Importing this package patches what is broken between mmselfsup, mmengine and
today's stack (:mod:`ahpcl.compat`) and registers the components in mmengine's
root registries. Besides it lets idle threads sleep where other programs are at
work, if torch is not loaded yet. It does nothing else. mmselfsup may be
absent: then the models of :mod:`ahpcl.baselines` that build on its classes say
so when they are asked for. What people call, such as :func:`load`, is imported
when it is called.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .utils.idle_threads import let_idle_threads_sleep

let_idle_threads_sleep()  # before torch is loaded

from . import compat  # noqa: E402

if TYPE_CHECKING:
    from .api.cluster import Clusters
    from .api.encoder import Encoder
    from .api.train import Run

__version__ = '0.2.0'

with compat.quiet_imports():
    compat.import_transformers()
    compat.apply_all()

    # Registration comes after the patches, because it imports mmselfsup.
    from . import (
        baselines,
        datasets,
        engine,
        evaluation,
        models,
        runtime,
        visualization,
    )


def train(*args: Any, **kwargs: Any) -> Run:
    """Train on a folder of images, see :func:`ahpcl.api.train.train`."""
    from .api.train import train

    return train(*args, **kwargs)


__all__ = [
    'baselines',
    'cluster',
    'compat',
    'datasets',
    'engine',
    'evaluation',
    'load',
    'models',
    'runtime',
    'train',
    'visualization',
]


def load(
    path: str | os.PathLike, *, config: Any = None, device: Any = None
) -> Encoder:
    """Load the encoder of a run; its training images need not be there.

    Args:
        path: Folder of a run, a checkpoint, or a safetensors file that
            ``Encoder.export`` wrote.
        config: Config of a checkpoint that holds none, or in place of it.
        device: Device to compute on, such as ``'cpu'``; None for a GPU where
            there is one.

    Returns:
        An :class:`ahpcl.api.Encoder`: ``embed``, ``assign``, ``similar``,
        ``export``.

    Raises:
        ValueError: If there is no such run, or it cannot be read.

    Example::

        encoder = ahpcl.load('runs/photos')
        features = encoder.embed('new/')
    """
    from .api.encoder import load

    return load(path, config=config, device=device)


def cluster(items: Any, **options: Any) -> Clusters:
    """Cluster features, or images by an encoder that is not trained.

    Args:
        items: Features (N, D), an array or a tensor; or images: paths,
            folders, arrays, Pillow images.
        **options: ``encoder``, for images: ``'timm:resnet18'`` or
            ``'torchvision:resnet18'`` with ``weights=FILE`` (nothing is
            downloaded), a run or a checkpoint; ``levels``, the cluster
            counts; and others of :func:`ahpcl.api.cluster.cluster`.

    Returns:
        :class:`ahpcl.api.cluster.Clusters`: the hierarchy, the assignment of
        every image, ``kinds`` (how many there are), ``assign`` for others,
        ``save`` and ``report``.

    Raises:
        ValueError: If the features are no finite (N, D), or an option does
            not go with them.

    Example::

        clusters = ahpcl.cluster(features)
        clusters.labels(clusters.num_clusters[-1])
    """
    from .api.cluster import cluster

    return cluster(items, **options)
