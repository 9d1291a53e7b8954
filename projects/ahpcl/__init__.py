"""AHPCL: adaptive hierarchical prototypical contrastive learning.

Importing this package patches what is broken between mmselfsup, mmengine and
today's stack (:mod:`ahpcl.compat`) and registers the components in mmengine's
root registries. It does nothing else. mmselfsup may be absent: then the models
of :mod:`ahpcl.baselines` that build on its classes say so when they are asked
for.
"""

from . import compat

__version__ = '0.1.0'

compat.apply_all()

# Registration comes after the patches, because it imports mmselfsup.
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
