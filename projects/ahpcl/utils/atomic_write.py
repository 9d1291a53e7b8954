"""Files that appear under their name only when they are complete."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file completely or not at all.

    Args:
        path: Path of the file; its folder is made.

    Yields:
        Another path in that folder, to write to. It takes the name of the
        file when the block ends, flushed to the disk, and is gone when the
        block fails.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f'{target.name}.{os.getpid()}.part')
    try:
        yield beside
        publish(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def publish(beside: Path, target: Path) -> None:
    """Give a finished file its name; after a power cut it is complete or old.

    Args:
        beside: The finished file, in the folder of the other.
        target: Path that it takes; a file that is there is replaced.
    """
    _flush(beside)
    beside.replace(target)
    # The name is in the folder, which is flushed like a file. Not all
    # systems can.
    with suppress(OSError):
        _flush(target.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
