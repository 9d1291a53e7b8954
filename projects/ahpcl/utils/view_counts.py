"""How many views an option asks for."""

from collections.abc import Sequence
from typing import Any


def view_counts(
    views: Sequence[Any], num_views: int | Sequence[int] | None
) -> list[int]:
    """The number of views from each pipeline.

    Args:
        views: The pipelines.
        num_views: A number for each of them, by default one; a single number
            where there is one pipeline.

    Raises:
        ValueError: If the numbers do not fit the pipelines.
    """
    if num_views is None:
        counts = [1] * len(views)
    elif isinstance(num_views, int):
        counts = [num_views]
    else:
        counts = list(num_views)
    if not views or len(counts) != len(views) or min(counts) < 1:
        raise ValueError(
            'expected one or more pipelines in views and a number of at '
            f'least 1 for each in num_views, got {len(views)} pipelines '
            f'and num_views={num_views!r}'
        )
    return counts
