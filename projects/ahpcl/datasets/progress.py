"""A progress bar where a person watches, nothing where a log file does."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar('T')


def watched(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Pass items through, under a bar that vanishes at the end.

    Args:
        items: Anything.
        description: Text beside the bar.
        total: Number of items.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(
        items,
        description=description,
        total=total,
        console=Console(stderr=True),
        transient=True,
    )
