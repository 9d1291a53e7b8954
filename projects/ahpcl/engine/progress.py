"""Progress bars where a person watches, nothing where a log file does."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mmengine.dist import is_main_process
from rich.console import Console
from rich.progress import Progress, track

T = TypeVar('T')


def _watched() -> bool:
    return is_main_process() and sys.stderr.isatty()


def progress_over(items: Iterable[T], description: str) -> Iterable[T]:
    """Iterate with a bar that vanishes at the end.

    Args:
        items: Anything with a length.
        description: Text beside the bar.
    """
    if not _watched():
        return items
    return track(
        items, description, console=Console(stderr=True), transient=True
    )


@contextmanager
def pulse(description: str) -> Iterator[None]:
    """A moving bar around work of unknown length."""
    if not _watched():
        yield
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        progress.add_task(description, total=None)
        yield
