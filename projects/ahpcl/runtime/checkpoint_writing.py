"""The atomic way to write a checkpoint, and the error if that fails."""

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
    """Write a checkpoint to another name, flush it, rename it.

    Args:
        save: Writes a checkpoint, see ``Runner.save_checkpoint``.
        out_dir: Folder of the checkpoint.
        filename: Name of the checkpoint in it.
        good: Path of the last good checkpoint; None without one.
        *args: Passed on to ``save``.
        **kw: Passed on to ``save``.

    Raises:
        RuntimeError: If it cannot be written; the message names the last
            good checkpoint.
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
    """Name the newest checkpoint, then delete the oldest ones.

    Args:
        pointer: The file that names the newest checkpoint.
        last: Path of the newest checkpoint.
        outdated: Checkpoints to delete.

    Raises:
        RuntimeError: If that cannot be written; the message names the newest
            checkpoint.
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
        path: What could not be written.
        error: Why it could not.
        good: Path of the last good checkpoint; None without one.
    """
    rescue = 'no checkpoint was written before'
    if good is not None:
        rescue = f'the last good checkpoint is {good}'
    return RuntimeError(
        f'expected to write {path}, got {error}; {rescue}. Make room or '
        'repair the folder, then go on with --resume'
    )
