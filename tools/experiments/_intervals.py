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
        mean: Of the values.
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
        confidence: Of the interval.

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
