"""Checkpoints written whole: beside, flushed, renamed, then pointed at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ahpcl.utils.atomic_write import atomic_write, publish

#: Ending of a file that is being written.
PART = '.part'


def write_checkpoint(
    save: Callable[..., None],
    out_dir: str,
    filename: str,
    good: str | None,
    *args: Any,
    **kw: Any,
) -> None:
    """Write a checkpoint beside, flush it, rename it.

    Args:
        save: Writes it, see ``Runner.save_checkpoint``.
        out_dir: Folder.
        filename: Name in it.
        good: The last good checkpoint; None without one.
        *args: For ``save``.
        **kw: For ``save``.

    Raises:
        RuntimeError: If it cannot be written; names the last good one.
    """
    folder = Path(out_dir)
    part = folder / f'{filename}{PART}'
    try:
        if not folder.is_dir():
            raise FileNotFoundError(f'the folder {folder} is gone')
        save(out_dir, part.name, *args, **kw)
        publish(part, folder / filename)
    except OSError as error:
        raise cannot_write(folder / filename, error, good) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def point(pointer: Path, last: str, outdated: list[Path]) -> None:
    """Name the newest checkpoint, then let the oldest ones go.

    Args:
        pointer: The file that names it.
        last: The newest checkpoint.
        outdated: Those that go.

    Raises:
        RuntimeError: If that cannot be written; names the newest one.
    """
    try:
        with atomic_write(pointer) as beside:
            beside.write_text(last, 'utf-8')
        for path in outdated:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(pointer, error, last) from error


def cannot_write(
    path: str | Path, error: OSError, good: str | None
) -> RuntimeError:
    """The error of a run that cannot write; names the last good checkpoint.

    Args:
        path: That could not be written.
        error: Why.
        good: The checkpoint; None without one.
    """
    rescue = 'no checkpoint was written before'
    if good is not None:
        rescue = f'the last good checkpoint is {good}'
    return RuntimeError(
        f'expected to write {path}, got {error}; {rescue}. Make room or mend '
        'the folder, then go on with --resume'
    )
