"""AHPCL: adaptive hierarchical prototypical contrastive learning.

Importing this package mends what is broken between the host and today's
stack (:mod:`ahpcl.compat`) and registers the components in mmengine's root
registries. It does nothing else.
"""

from . import compat

__version__ = '0.1.0'

compat.apply_all()

# Registration; after the mends, because it imports the host.
from . import (  # noqa: E402
    baselines,
    datasets,
    engine,
    evaluation,
    models,
    runtime,
    visualization,
)

__all__ = [
    'baselines',
    'compat',
    'datasets',
    'engine',
    'evaluation',
    'models',
    'runtime',
    'visualization',
]
