"""Means over seeds and paired differences, with Student's intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t


@dataclass(frozen=True)
class Interval:
    """A mean and its two-sided confidence interval.

    Attributes:
        mean: Mean of the values.
        half: Half the width; NaN of a single value.
        count: Values.
    """

    mean: float
    half: float
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside; never with a single value."""
        return abs(self.mean) > self.half

    def text(self, signed: bool = False) -> str:
        """Such as ``28.40 +- 1.20``, without the interval of one value."""
        mean = f'{self.mean:+.2f}' if signed else f'{self.mean:.2f}'
        return mean if math.isnan(self.half) else f'{mean} ± {self.half:.2f}'


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean of independent values with Student's t-interval.

    Args:
        values: One or more.
        confidence: Confidence level of the interval.

    Raises:
        ValueError: If there is no value.
    """
    if not values:
        raise ValueError('expected at least one value, got none')
    mean = statistics.fmean(values)
    count = len(values)
    if count == 1:
        return Interval(mean, math.nan, 1)
    error = statistics.stdev(values) / math.sqrt(count)
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * error
    return Interval(mean, half, count)


def unpaired(
    values: Sequence[float],
    reference: Sequence[float],
    confidence: float = 0.95,
) -> Interval | None:
    """Difference of two means by Welch's t-interval.

    Args:
        values: One or more.
        reference: One or more, independent of them.
        confidence: Confidence level of the interval.

    Returns:
        None if one of the two is empty; an interval of NaN half width if
        either has one value only.
    """
    if not values or not reference:
        return None
    mean = statistics.fmean(values) - statistics.fmean(reference)
    counts = len(values), len(reference)
    if min(counts) == 1:
        return Interval(mean, math.nan, min(counts))
    parts = [
        statistics.variance(each) / len(each) for each in (values, reference)
    ]
    total = sum(parts)
    if total == 0:
        return Interval(mean, 0.0, min(counts))
    degrees = total**2 / sum(
        part**2 / (count - 1)
        for part, count in zip(parts, counts, strict=True)
    )
    half = float(t.ppf((1 + confidence) / 2, degrees)) * math.sqrt(total)
    return Interval(mean, half, min(counts))


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for several tests (Holm, 1979), in their order.

    Args:
        values: p-values; NaN where there is no test, which stays and counts
            for no other.
    """
    order = sorted(
        (p, place) for place, p in enumerate(values) if not math.isnan(p)
    )
    adjusted, largest = list(values), 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[place] = largest
    return adjusted


def p_value(difference: Interval) -> float:
    """Two-sided p-value that a mean of paired differences is 0.

    NaN for a single pair.
    """
    if math.isnan(difference.half):
        return math.nan
    if difference.half == 0:
        return float(difference.mean == 0)
    degrees = difference.count - 1
    ratio = abs(difference.mean) / difference.half
    return float(2 * t.sf(ratio * t.ppf(0.975, degrees), degrees))


def paired(
    values: Mapping[int, float], reference: Mapping[int, float]
) -> Interval | None:
    """Difference to a reference over the seeds that both have.

    Args:
        values: By seed.
        reference: By seed.

    Returns:
        None if they share no seed.
    """
    shared = sorted(set(values) & set(reference))
    if not shared:
        return None
    return interval([values[seed] - reference[seed] for seed in shared])
