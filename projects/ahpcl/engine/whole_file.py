"""Files that appear under their name only when they are complete."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file whole or not at all.

    Args:
        path: Of the file; its folder is made.

    Yields:
        Another path in that folder, to write to. It takes the name of the
        file when the block ends, and is gone when the block fails.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f'{target.name}.{os.getpid()}.part')
    try:
        yield beside
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
