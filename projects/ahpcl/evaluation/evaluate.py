"""All tasks on one checkpoint: check, extract once, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.registry import DATASETS
from torch import Tensor

from ahpcl.core.metrics.feature_health import alignment
from ahpcl.engine.two_views import two_view_features

from .count_metric import CountMetric, grey_views, numbers_of
from .feature_metric import FeatureMetric
from .feature_set import FeatureSet
from .prototype_quality import prototype_quality
from .run_data import RunData
from .tasks import DEFAULT, WITHOUT_LABELS, build_tasks

Say = Callable[[str], None]
ALIGNED_IMAGES = 1024


def evaluate(
    run: RunData,
    tasks: Sequence[str] | None = None,
    *,
    features: FeatureSet | None = None,
    save: Callable[[dict], None] | None = None,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Measure what a checkpoint learnt.

    All tasks are checked before the first feature is extracted. A config
    without labelled images is measured on its training images.

    Args:
        run: The checkpoint and its images.
        tasks: Names, see :data:`~ahpcl.evaluation.tasks.TASKS`; None for all
            that take seconds and that the images allow.
        features: Features of :attr:`RunData.evaluation`, if they are at hand.
        save: Called with the results after every task, so that none is lost.
        say: Called with a line for whoever waits.

    Returns:
        ``metrics`` by name, ``tasks`` with the names that each gave,
        ``seconds`` by task, ``prototypes`` (see :func:`prototype_quality`),
        ``kinds`` (see :class:`ahpcl.core.metrics.KindCount`, of the training
        images, in the space of the prototypes), and what was measured;
        ``digest`` tells its features apart.

    Raises:
        ValueError: If a task is unknown or the images do not allow it;
            names every such task.
    """
    labelled = run.evaluation_loader is not None
    if tasks is None:
        tasks = DEFAULT if labelled else WITHOUT_LABELS
    metrics = build_tasks(tasks, run.config)
    if labelled:
        labels, query = run.evaluation_roles
    else:
        number = len(run.training_loader.dataset)
        labels = torch.full((number,), -1)
        query = torch.ones(number, dtype=torch.bool)
        if 'cluster' in metrics:  # the prototypes, and what names its K
            metrics['cluster'] = [
                metric
                for metric in metrics['cluster']
                if getattr(metric, 'num_clusters', None) is not None
            ]
    _check(metrics, labels, query)

    start = time.perf_counter()
    if features is None:
        features = run.evaluation if labelled else run.training
    assert features is not None
    results: dict[str, Any] = dict(
        config=str(run.config.filename),
        checkpoint=str(run.checkpoint or run.name),
        images=features.num_images,
        queries=int(query.sum()),
        classes=len(labels[labels >= 0].unique()),
        seen_classes=_seen_classes(run, features) if labelled else None,
        digest=features.digest,
        tasks={},
        metrics={},
        seconds={'features': time.perf_counter() - start},
    )
    for task, parts in metrics.items():
        start = time.perf_counter()
        named: dict[str, float] = {}
        for metric in parts:
            if isinstance(metric, CountMetric):
                kinds = metric.count(run.kind_rows, grey_views(run))
                results['kinds'] = kinds.as_dict()
                found = numbers_of(kinds)
            else:
                found = _measure(metric, run, features, labels, query)
            named.update(
                {f'{metric.prefix}/{key}': v for key, v in found.items()}
            )
        if task == 'health':
            named.update(_alignment(run))
        results['metrics'].update(named)
        results['tasks'][task] = list(named)
        if task == 'cluster':
            results['prototypes'] = prototype_quality(run)
        results['seconds'][task] = time.perf_counter() - start
        say(f'{task}: {results["seconds"][task]:.1f} s')
        if save is not None:
            save(results)
    return results


def _check(
    metrics: dict[str, list[FeatureMetric]], labels: Tensor, query: Tensor
) -> None:
    """Raise with all that cannot be measured, before hours are spent."""
    problems = []
    for task, parts in metrics.items():
        for metric in parts:
            try:
                metric.check(labels, query)
            except ValueError as error:
                problems.append(f'{task}: {error}')
    if problems:
        raise ValueError('\n'.join(dict.fromkeys(problems)))


def _measure(
    metric: FeatureMetric,
    run: RunData,
    features: FeatureSet,
    labels: Tensor,
    query: Tensor,
) -> dict[str, float]:
    """Return what a metric says of the images that count for it."""
    rows = features.features.to(run.device)
    if metric.needs_images:
        metric.set_model(run.model)
        rows = raw_images(run)
    if metric.needs_labels:
        known = labels >= 0
        rows, labels, query = rows[known], labels[known], query[known]
    return metric.measure(rows, labels, query)


def _alignment(run: RunData) -> dict[str, float]:
    """Return features of two augmented views of some training images."""
    dataset = DATASETS.build(run.config.train_dataloader.dataset)
    views = two_view_features(run.model, dataset, ALIGNED_IMAGES)
    return {'health/alignment': alignment(*views)}


def raw_images(run: RunData) -> Tensor:
    """Return the evaluation images as the model sees them, (N, C, H, W)."""
    assert run.evaluation_loader is not None
    return torch.stack(
        [
            image[0] if isinstance(image, list | tuple) else image
            for batch in run.evaluation_loader
            for image in _unbatched(batch['inputs'])
        ]
    )


def _unbatched(inputs: Any) -> list[Tensor]:
    """Return the images of a batch; of several views the first."""
    first = inputs[0]
    if isinstance(inputs, list) and first.ndim == 4:
        return list(first)
    return list(inputs)


def _seen_classes(run: RunData, features: FeatureSet) -> int:
    """Return classes that are among those of the training images, by name."""
    dataset = run.training_loader.dataset
    trained = set(dataset.metainfo.get('classes') or ())
    return len(trained & set(features.classes))
