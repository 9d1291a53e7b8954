"""Few-shot classification over many small episodes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core.inputs import check_rows
from ahpcl.core.metrics.episode_classifiers import (
    cosine_scores,
    logistic_scores,
    nearest_scores,
)
from ahpcl.core.metrics.episode_draws import check_episodes, sample_episodes

__all__ = [
    'CLASSIFIERS',
    'EpisodeResult',
    'check_episodes',
    'few_shot_episodes',
    'sample_episodes',
]

CLASSIFIERS = (
    'nearest_centroid',
    'nearest_neighbour',
    'logistic_regression',
    'cosine',
)
_METRICS = ('cosine', 'euclidean')


class EpisodeResult(NamedTuple):
    """Accuracy over episodes.

    Args:
        accuracy: Mean over the episodes, percent.
        half_width: Half of the 95 % confidence interval of that mean,
            percent: 1.96 standard errors; NaN for a single episode.
    """

    accuracy: float
    half_width: float


def few_shot_episodes(
    features: Tensor,
    labels: Tensor,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int | None = 15,
    episodes: int = 2000,
    seed: int = 0,
    classifier: str = 'nearest_centroid',
    metric: str = 'cosine',
) -> EpisodeResult:
    """Measure accuracy with a few labelled images per class, on many draws.

    Each episode draws `ways` classes, `shots` labelled images and `queries`
    others of each. `nearest_centroid` (Snell et al., NeurIPS 2017) compares
    with the mean of a class's shots, `nearest_neighbour` with each shot;
    `logistic_regression` (scikit-learn's, C = 1) and `cosine` (baseline++)
    are trained on the shots, see
    :mod:`ahpcl.core.metrics.episode_classifiers`.
    Ten classes of ten, one shot and `queries=None` is the accuracy with one
    label per class.

    Args:
        features: Features, (N, D).
        labels: Classes, (N,), any integers.
        ways: Classes of an episode, from 2.
        shots: Labelled images of each, from 1.
        queries: Images of each to classify, from 1; None takes all the rest
            of its class.
        episodes: Number of episodes, from 1.
        seed: The same seed draws the same episodes, on every device.
        classifier: One of :data:`CLASSIFIERS`.
        metric: `'cosine'` normalises features, and the means of the
            normalised ones; `'euclidean'` takes both as they are.

    Returns:
        The mean accuracy in percent and its confidence interval.

    Raises:
        ValueError: If there are too few classes or a class has too few
            images, shapes do not fit, a feature is not finite, or a setting
            is unknown or out of range.

    Examples:
        >>> features = torch.eye(5).repeat_interleave(20, dim=0)
        >>> labels = torch.arange(5).repeat_interleave(20)
        >>> few_shot_episodes(features, labels, episodes=10)
        EpisodeResult(accuracy=100.0, half_width=0.0)
    """
    check_rows(features)
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f'expected one label for each of {len(features)} features, got '
            f'shape {tuple(labels.shape)}'
        )
    if classifier not in CLASSIFIERS:
        raise ValueError(
            f'expected classifier to be one of {CLASSIFIERS}, '
            f'got {classifier!r}'
        )
    if metric not in _METRICS:
        raise ValueError(
            f'expected metric to be one of {_METRICS}, got {metric!r}'
        )
    points = features.to(torch.promote_types(features.dtype, torch.float32))
    if metric == 'cosine':
        points = F.normalize(points, dim=1)
    accuracies = []
    for support, query in sample_episodes(
        labels,
        ways=ways,
        shots=shots,
        queries=queries,
        episodes=episodes,
        seed=seed,
        width=features.shape[1],
    ):
        accuracies.append(
            _accuracy(
                points,
                support.to(points.device),
                query.to(points.device),
                classifier,
                metric,
            )
        )
    each = 100.0 * torch.cat(accuracies)
    half_width = math.nan
    if len(each) > 1:
        half_width = 1.96 * float(each.std()) / math.sqrt(len(each))
    return EpisodeResult(float(each.mean()), half_width)


def _accuracy(
    points: Tensor,
    support: Tensor,
    query: Tensor,
    classifier: str,
    metric: str,
) -> Tensor:
    """Return the share of right answers of every episode, (E,) float64."""
    ways = query.shape[1]
    shown = points[support]
    valid = (query >= 0).flatten(1)
    asked = points[query.clamp(min=0)].flatten(1, 2)
    if classifier == 'logistic_regression':
        scores = logistic_scores(shown, asked)
    elif classifier == 'cosine':
        scores = cosine_scores(shown, asked)
    else:
        if classifier == 'nearest_centroid':
            shown = shown.mean(dim=2, keepdim=True)
        if metric == 'cosine':
            shown = F.normalize(shown, dim=3)
        scores = nearest_scores(shown, asked, metric)
    truth = torch.arange(ways, device=points.device)
    truth = truth.repeat_interleave(query.shape[2])
    hits = ((scores.argmax(dim=2) == truth) & valid).double().sum(dim=1)
    return hits / valid.sum(dim=1)
