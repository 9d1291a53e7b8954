"""Folders that we write are never images of the data."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

#: File by which a folder of ours is known.
MARKER = '.ahpcl'
_TEXT = (
    'Written by ahpcl, as is what lies beside it: data sets leave this '
    'folder out. Delete the file if it holds images to train on.\n'
)


def mark_folder(folder: str | os.PathLike) -> None:
    """Mark a folder as written by us, and make it if it is not there.

    Where it cannot be written, whoever writes there next says so.

    Args:
        folder: Folder of a run, or of what a tool writes.
    """
    path = Path(folder)
    with suppress(OSError):
        path.mkdir(parents=True, exist_ok=True)
        if not (path / MARKER).exists():
            (path / MARKER).write_text(_TEXT, 'utf-8')


def mark_new_folder(folder: str | os.PathLike) -> None:
    """Mark a folder that is not there or empty; others keep what they are.

    Args:
        folder: Where a tool is about to write.
    """
    path = Path(folder)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        mark_folder(path)


def is_own_folder(folders: Collection[str], files: Collection[str]) -> bool:
    """Tell from what a folder holds whether a run or a tool wrote it.

    It has our mark, or, of a run that had none yet, what mmengine leaves:
    ``last_checkpoint``, or a ``vis_data`` folder.

    Args:
        folders: Names of the folders in it.
        files: Names of the files in it.
    """
    return (
        MARKER in files or 'last_checkpoint' in files or 'vis_data' in folders
    )
