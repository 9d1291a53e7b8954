"""AHPCL: adaptive hierarchical prototypical contrastive learning.

Importing this package patches what is broken between mmselfsup, mmengine and
today's stack (:mod:`ahpcl.compat`) and registers the components in mmengine's
root registries. Besides it lets idle threads sleep, where torch is not loaded
yet. It does nothing else. mmselfsup may be absent: then the models
of :mod:`ahpcl.baselines` that build on its classes say so when they are asked
for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Before torch is loaded: OpenMP's idle threads sleep. Otherwise they wait in a
# busy loop, which makes small models many times slower where loaders or other
# programs want the cores. A value of your own is kept.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from . import compat

if TYPE_CHECKING:
    from . import api

__version__ = '0.1.0'

with compat.quiet_imports():
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


def train(*args: Any, **kwargs: Any) -> api.train.Run:
    """Train on a folder of images, see :func:`ahpcl.api.train.train`."""
    from .api.train import train

    return train(*args, **kwargs)


__all__ = [
    'baselines',
    'compat',
    'datasets',
    'engine',
    'evaluation',
    'models',
    'runtime',
    'train',
    'visualization',
]
