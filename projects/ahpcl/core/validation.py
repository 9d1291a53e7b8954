"""Checks of plain numbers that a user's config brings in."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

__all__ = ['checked_rungs', 'finite_number', 'whole_number']


def whole_number(value: object, what: str, *, least: int | None = None) -> int:
    """Return `value` as an int.

    Args:
        value: An int, or what behaves as one (a NumPy integer).
        what: Its name in the error.
        least: The smallest value allowed.

    Raises:
        ValueError: If it is a float, a bool, text, or too small.

    Examples:
        >>> whole_number(3, 'the window', least=1)
        3
        >>> whole_number(2.5, 'the window')
        Traceback (most recent call last):
            ...
        ValueError: expected the window to be a whole number, got 2.5
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(
            f'expected {what} to be a whole number, got {value!r}'
        ) from None
    if least is not None and number < least:
        raise ValueError(f'expected {what} >= {least}, got {number}')
    return number


def finite_number(
    value: float,
    what: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
) -> float:
    """Return `value` as a finite float from `least` to `most`.

    Raises:
        ValueError: If it is not.

    Examples:
        >>> finite_number(1, 'growth', least=1)
        1.0
    """
    number = float(value)
    if not (math.isfinite(number) and least <= number <= most):
        bounds = f' from {least:g} to {most:g}'
        if math.isinf(least) and math.isinf(most):
            bounds = ''
        elif math.isinf(most):
            bounds = f' >= {least:g}'
        raise ValueError(
            f'expected {what} to be a finite number{bounds}, got {value}'
        )
    return number


def checked_rungs(rungs: Sequence[int]) -> tuple[int, ...]:
    """Return cluster counts as a tuple, strictly monotone and positive.

    Raises:
        ValueError: If they are not; the message names the value and a remedy.

    Examples:
        >>> checked_rungs([40, 20, 10])
        (40, 20, 10)
    """
    values = tuple(whole_number(k, 'every rung') for k in rungs)
    if not values:
        raise ValueError(
            'expected at least one rung, got none; list cluster counts or '
            'use ClusterLadder.auto'
        )
    for k in values:
        if k < 1:
            raise ValueError(
                f'expected rungs >= 1, got {k} in {values}; drop it'
            )
        if values.count(k) > 1:
            raise ValueError(
                f'expected every rung once, got {k} repeatedly in {values}; '
                f'drop the repetition'
            )
    ascending = tuple(sorted(values))
    if values not in (ascending, ascending[::-1]):
        raise ValueError(
            f'expected rungs that ascend or descend throughout, got '
            f'{values}; sort them'
        )
    return values
