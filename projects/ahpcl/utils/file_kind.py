"""What a file is by its first bytes, for messages, and text in any coding."""

from __future__ import annotations

import os
from pathlib import Path

_STARTS = (
    (b'\x1f\x8b', 'a gzip file'),
    (b'BZh', 'a bzip2 file'),
    (b'\xfd7zXZ\0', 'an xz file'),
    (b'\x28\xb5\x2f\xfd', 'a zstd file'),
    (b'PK\x03\x04', 'a zip archive'),
    (b'PK\x05\x06', 'an empty zip archive'),
    (b'7z\xbc\xaf', 'a 7z archive'),
    (b'Rar!', 'a rar archive'),
    (b'PAR1', 'a Parquet file'),
    (b'\x89HDF', 'an HDF5 file'),
    (b'\x93NUMPY', 'a numpy array (.npy)'),
    (b'\xff\xd8\xff', 'a JPEG image'),
    (b'\x89PNG', 'a PNG image'),
    (b'GIF8', 'a GIF image'),
    (b'%PDF', 'a PDF file'),
    (b'SQLite', 'an SQLite file'),
    (b'version https://git-lfs', 'a Git LFS pointer: git lfs pull fetches it'),
)
_BOMS = (
    (b'\xef\xbb\xbf', 'utf-8-sig'),
    (b'\xff\xfe\0\0', 'utf-32'),
    (b'\0\0\xfe\xff', 'utf-32'),
    (b'\xff\xfe', 'utf-16'),
    (b'\xfe\xff', 'utf-16'),
)
_TEXT = {9, 10, 12, 13, *range(32, 127), *range(128, 256)}


def kind_of(path: str | os.PathLike[str]) -> str:
    """Tell what a file is by its content, whatever it is called.

    Args:
        path: The file.

    Returns:
        A few words, such as 'a gzip file'.
    """
    with open(path, 'rb') as file:
        start = file.read(512)
    if not start:
        return 'an empty file'
    for magic, kind in _STARTS:
        if start.startswith(magic):
            return kind
    if start[257:262] == b'ustar':
        return 'a tar archive'
    if start[0] == 0x80 and start[1:2] in (b'\2', b'\3', b'\4', b'\5'):
        return 'a pickle'
    text = start.lstrip().lower()
    if text.startswith((b'<!doctype html', b'<html')):
        return 'a web page, perhaps of a download that was refused'
    if text.startswith((b'<?xml', b'<')):
        return 'an XML file'
    if any(start.startswith(mark) for mark, _ in _BOMS):
        return 'text'
    if not start.strip(b'\0'):
        return 'zeros'
    return 'text' if set(start) <= _TEXT else 'a file of an unknown kind'


def read_text(path: str | os.PathLike[str]) -> str:
    r"""Read a list that people wrote, with whatever program.

    UTF-8, UTF-16 and UTF-32 with a mark at the start are decoded, and so is
    UTF-8 without; in any other coding bytes stay what they are, as in names
    of files (``os.fsencode`` gives them back). Ends of lines are ``\n``.

    Args:
        path: The file.

    Raises:
        ValueError: If it is no text; says what it is.
    """
    raw = Path(path).read_bytes()
    kind = kind_of(path)
    if raw and kind != 'text':
        raise ValueError(f'expected a text file, got {path}, which is {kind}')
    coding = next((code for mark, code in _BOMS if raw.startswith(mark)), None)
    try:
        text = raw.decode(coding or 'utf-8', 'surrogateescape')
    except UnicodeDecodeError as error:
        raise ValueError(
            f'expected a text file, got {path}, which begins as {coding} and '
            f'goes on otherwise: {error}'
        ) from error
    if '\0' in text:
        raise ValueError(
            f'expected a text file, got {path} with NUL characters; save it '
            'as UTF-8'
        )
    return text.replace('\r\n', '\n').replace('\r', '\n')
