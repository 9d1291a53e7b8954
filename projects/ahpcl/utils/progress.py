"""Progress bars where a person watches, nothing where a log file does."""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mmengine.dist import is_main_process

T = TypeVar('T')


def watched(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Pass items through, under a bar that vanishes at the end.

    Args:
        items: Items to iterate over.
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


def progress_over(items: Collection[T], description: str) -> Iterable[T]:
    """Iterate, on rank 0 with a bar that vanishes at the end.

    Args:
        items: Items to iterate over.
        description: Text beside the bar.
    """
    if not is_main_process():
        return items
    return watched(items, description, len(items))


@contextmanager
def pulse(description: str) -> Iterator[None]:
    """A moving bar around work of unknown length."""
    if not (is_main_process() and sys.stderr.isatty()):
        yield
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        progress.add_task(description, total=None)
        yield


@contextmanager
def bar_over_bytes(
    description: str, total: int
) -> Iterator[Callable[[int], None]]:
    """Show how much of some files is read, where a person watches.

    Args:
        description: Text beside the bar.
        total: Bytes of the files.

    Yields:
        A function that is told how many more bytes were read.
    """
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)
