"""Health of a representation without labels, and alarms of collapse."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core.inputs import check_rows
from ahpcl.core.validation import finite_number, whole_number

__all__ = [
    'alignment',
    'collapse_alarms',
    'feature_health',
    'mean_cosine',
    'rankme',
    'spread',
    'uniformity',
]

_PAIRS_AT_ONCE = 1 << 22


def rankme(features: Tensor, *, epsilon: float = 1e-7) -> float:
    """Return the effective number of dimensions that the features use.

    This is the exponential of the entropy of the normalised singular values
    (Garrido et al., "RankMe", ICML 2023, equation 1): k for k equal singular
    values.

    Args:
        features: Features, (N, D), neither centred nor normalised.
        epsilon: Number that is added to every share, as in the paper.

    Returns:
        A number from 1 to min(N, D), up to rounding; 0 if all features are
        0, for which the equation is not defined.

    Raises:
        ValueError: If the features are not finite rows.

    Examples:
        >>> round(rankme(torch.eye(4)), 3)
        4.0
    """
    rows = _checked(features)
    values = torch.linalg.svdvals(rows)
    total = float(values.sum())
    if total == 0:
        return 0.0
    shares = values / total + epsilon
    return math.exp(-float((shares * shares.log()).sum()))


def alignment(first: Tensor, second: Tensor, *, alpha: float = 2.0) -> float:
    """Return the mean distance of two views on the unit sphere.

    This is the mean of |x - y| ** alpha (Wang & Isola, ICML 2020, section
    4.1): 0 where views are the same, 2 for unrelated directions at alpha 2.

    Args:
        first: Features of a view of every image, (N, D); normalised here.
        second: Features of another view of the same images, (N, D).
        alpha: Exponent, above 0.

    Raises:
        ValueError: If the features are not finite rows of the same shape, or
            alpha is not above 0.

    Examples:
        >>> round(alignment(torch.eye(2), torch.eye(2).flip(0)), 3)
        2.0
    """
    if first.shape != second.shape:
        raise ValueError(
            'expected two views of the same images, got features of shapes '
            f'{tuple(first.shape)} and {tuple(second.shape)}'
        )
    if finite_number(alpha, 'alpha', least=0) == 0:
        raise ValueError('expected alpha above 0, got 0')
    x = F.normalize(_checked(first), dim=1)
    y = F.normalize(_checked(second), dim=1)
    return float((x - y).norm(dim=1).pow(alpha).mean())


def uniformity(
    features: Tensor, *, t: float = 2.0, sample: int = 4096, seed: int = 0
) -> float:
    """Measure how evenly features cover the unit sphere; lower is more even.

    This is the logarithm of the mean of exp(-t |x - y|^2) over all pairs (Wang
    & Isola, ICML 2020, section 4.1): 0 if all are the same, -4 at best for t =
    2 in many dimensions, where pairs are orthogonal.

    Args:
        features: Features, (N, D), N from 2; they are normalised here.
        t: Factor of the squared distance, above 0.
        sample: Most images that are compared; time grows with its square.
        seed: Seed of the sample.

    Raises:
        ValueError: If the features are not two finite rows or more.

    Examples:
        >>> round(uniformity(torch.eye(8)), 3)
        -4.0
    """
    if finite_number(t, 't', least=0) == 0:
        raise ValueError('expected t above 0, got 0')
    rows = F.normalize(_sampled(_checked(features), sample, seed), dim=1)
    number = len(rows)
    if number < 2:
        raise ValueError(f'expected at least two features, got {number}')
    norms = rows.square().sum(dim=1)
    total = 0.0
    for start in range(0, number, max(1, _PAIRS_AT_ONCE // number)):
        part = rows[start : start + max(1, _PAIRS_AT_ONCE // number)]
        # Rows of 0 have no direction and stay 0.
        squared = norms[start : start + len(part), None] + norms
        squared = (squared - 2 * part @ rows.t()).clamp(min=0)
        total += float(torch.exp(-t * squared).sum())
    # Without the pairs of an image with itself, which count 1 each.
    mean = (total - number) / (number * (number - 1))
    return math.log(max(mean, 1e-300))


def mean_cosine(features: Tensor) -> float:
    """Return the mean cosine of all pairs of different images, -1 to 1.

    Args:
        features: Features, (N, D), N from 2.

    Raises:
        ValueError: If the features are not two finite rows or more.

    Examples:
        >>> mean_cosine(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
        1.0
    """
    rows = F.normalize(_checked(features), dim=1)
    number = len(rows)
    if number < 2:
        raise ValueError(f'expected at least two features, got {number}')
    total = float(rows.sum(dim=0).square().sum())
    return (total - float(rows.square().sum())) / (number * (number - 1))


def spread(features: Tensor) -> float:
    """Return the mean standard deviation of a dimension, times root D.

    It is that of the normalised features (Chen & He, "SimSiam", CVPR 2021,
    section 4.1): about 1 where they are spread over the sphere, 0 in collapse.

    Args:
        features: Features, (N, D), N from 2.

    Raises:
        ValueError: If the features are not two finite rows or more.

    Examples:
        >>> spread(torch.ones(8, 4))
        0.0
    """
    rows = F.normalize(_checked(features), dim=1)
    if len(rows) < 2:
        raise ValueError(f'expected at least two features, got {len(rows)}')
    return float(rows.std(dim=0).mean()) * math.sqrt(rows.shape[1])


def feature_health(
    features: Tensor,
    views: tuple[Tensor, Tensor] | None = None,
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Compute all measures at once.

    Args:
        features: Features, (N, D).
        views: Features of two views of the same images, each (M, D), or
            None.
        seed: Seed of the samples.

    Returns:
        ``rankme``, ``uniformity``, ``mean_cosine``, ``spread``, and
        with views ``alignment``.

    Raises:
        ValueError: If the features are not two finite rows or more.

    Examples:
        >>> sorted(feature_health(torch.eye(4)))
        ['mean_cosine', 'rankme', 'spread', 'uniformity']
    """
    found = dict(
        rankme=rankme(_sampled(features, 16384, seed)),
        uniformity=uniformity(features, seed=seed),
        mean_cosine=mean_cosine(features),
        spread=spread(features),
    )
    if views is not None:
        found['alignment'] = alignment(*views)
    return found


def collapse_alarms(
    health: Mapping[str, float],
    *,
    least_rankme: float = 2.0,
    least_spread: float = 0.02,
    most_cosine: float = 0.999,
) -> list[str]:
    """Describe in words what looks like collapse.

    The limits are where hardly anything is left, because pooled features are
    never negative, so that those of an untrained network are almost parallel,
    too.

    Args:
        health: The result of :func:`feature_health`. A measure that it lacks
            is not judged.
        least_rankme: Smallest healthy ``rankme``; below it the features use
            hardly more than one dimension.
        least_spread: Smallest healthy ``spread``; below it all images look
            alike.
        most_cosine: Largest healthy ``mean_cosine``; above it all images
            look alike.

    Returns:
        A message for each problem; empty if all is well.

    Examples:
        >>> health = feature_health(torch.ones(8, 4))
        >>> len(collapse_alarms(health))
        3
    """
    alarms = []
    value = health.get('rankme', math.inf)
    if value < least_rankme:
        alarms.append(
            f'RankMe {value:.2f} is below {least_rankme:g}: the features use '
            'hardly more than one dimension (dimensional collapse); lower '
            'the learning rate, add negatives or batch norm in the neck'
        )
    value = health.get('spread', math.inf)
    if value < least_spread:
        alarms.append(
            f'spread {value:.4f} is below {least_spread:g}: all images '
            'get almost the same features (collapse); lower the learning '
            'rate or check the augmentation'
        )
    value = health.get('mean_cosine', -math.inf)
    if value > most_cosine:
        alarms.append(
            f'the mean cosine of two images {value:.5f} is above '
            f'{most_cosine:g}: all images get almost the same features '
            '(collapse); lower the learning rate or check the augmentation'
        )
    return alarms


def _checked(features: Tensor) -> Tensor:
    """Return the features in double precision, if they are finite."""
    check_rows(features)
    return features.double()


def _sampled(rows: Tensor, sample: int, seed: int) -> Tensor:
    """Return at most `sample` rows, which the seed chooses."""
    sample = whole_number(sample, 'sample', least=2)
    if len(rows) <= sample:
        return rows
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(rows), generator=generator)[:sample]
    return rows[chosen.to(rows.device)]
