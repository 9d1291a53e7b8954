"""The tasks of an evaluation, each a list of registered metrics."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.registry import METRICS

from .feature_metric import FeatureMetric

#: Metrics of every task; a config's own `evaluation = dict(knn=[...])` wins.
TASKS: dict[str, list[dict]] = {
    'knn': [dict(type='KNNMetric', k=[1, 5, 20, 200], weighted='both')],
    'linear': [
        dict(type='LinearMetric', protocol='logreg'),
        dict(type='LinearMetric', protocol='sgd'),
    ],
    'fewshot': [
        dict(
            type='FewShotMetric',
            ways=5,
            shots=[1, 5],
            classifier=['nearest_centroid', 'logistic_regression', 'cosine'],
        )
    ],
    'cluster': [dict(type='ClusterMetric')],
    'count': [dict(type='CountMetric')],
    'svm': [dict(type='SVMMetric')],
    'semisup': [dict(type='FineTuneMetric')],
    'health': [dict(type='HealthMetric')],
}
#: Those that take seconds.
DEFAULT = ('knn', 'linear', 'fewshot', 'cluster', 'health')
#: Those that say something of images without labels.
WITHOUT_LABELS = ('cluster', 'health')


def build_tasks(
    tasks: Sequence[str], config: Config | None = None
) -> dict[str, list[FeatureMetric]]:
    """Build the metrics of tasks.

    Args:
        tasks: Names of the tasks.
        config: A config, which may change them with ``evaluation``.

    Returns:
        Metrics by task.

    Raises:
        ValueError: If a task is unknown.
    """
    table = {**TASKS, **((config or {}).get('evaluation') or {})}
    unknown = [task for task in tasks if task not in table]
    if unknown:
        raise ValueError(
            f'expected tasks among {", ".join(table)}, got '
            f'{", ".join(unknown)}'
        )
    return {
        task: [METRICS.build(copy.deepcopy(row)) for row in table[task]]
        for task in dict.fromkeys(tasks)
    }
