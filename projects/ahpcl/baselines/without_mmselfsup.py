"""What a config is told that asks for a baseline where mmselfsup is absent."""

from __future__ import annotations

from typing import Any

from mmengine.registry import DATA_SAMPLERS, HOOKS, MODELS, Registry

NAMES: tuple[tuple[Registry, str], ...] = (
    (MODELS, 'ClusterCrossEntropy'),
    (MODELS, 'OnlineDeepClustering'),
    (MODELS, 'PseudoLabelClassifier'),
    (MODELS, 'SimCLRBaseline'),
    (MODELS, 'SwAVBaseline'),
    (MODELS, 'SwappedPredictionLoss'),
    (HOOKS, 'OnlineClusteringHook'),
    (HOOKS, 'PseudoLabelHook'),
    (HOOKS, 'SwAVScheduleHook'),
    (DATA_SAMPLERS, 'UniformClusterSampler'),
)


def _register(registry: Registry, name: str) -> None:
    def build(*_: Any, **__: Any) -> None:
        raise ImportError(
            f'{name} builds on classes of mmselfsup, which is not installed: '
            f'pip install mmselfsup==1.0.0'
        )

    registry.register_module(name=name, module=build)


for _registry, _name in NAMES:
    _register(_registry, _name)
