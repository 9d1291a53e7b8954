"""What is wrong with the file of a checkpoint, found without loading it."""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from pathlib import Path

# What zipfile raises for a damaged archive, by where the damage is.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
)


def defect_of(path: str | os.PathLike) -> str | None:
    """Says what is wrong with a checkpoint's file; None if nothing is.

    Files of torch are archives with a checksum for each tensor, which is
    compared. Those of before torch 1.6, and those written without, have
    none: they pass if they are not cut off.

    Args:
        path: The file. It is read once, and nothing in it runs.

    Returns:
        A clause such as 'was cut off'.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            return 'is empty'
        with path.open('rb') as file:
            start = file.read(4)
        if not start.startswith(b'PK'):
            pickled = start[:1] == b'\x80'
            return None if pickled else 'is no checkpoint of torch'
        with zipfile.ZipFile(path) as archive:
            # torch writes zeros where it is told to compute no checksums.
            checked = any(each.CRC for each in archive.infolist())
            wrong = archive.testzip() if checked else None
    except OSError as error:
        return f'cannot be read ({error})'
    except _DAMAGED:
        return 'was cut off or damaged'
    return None if wrong is None else f'is damaged (in {wrong})'


def is_archive(path: Path) -> bool:
    """Tells whether a file exists and begins as torch's archives do."""
    if not path.is_file():
        return False
    with path.open('rb') as file:
        return file.read(2) == b'PK'
