"""Read tar and zip archives that may be hostile, without extracting."""

import bz2
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

ARCHIVES = ('.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz', '.zip')
MAX_BYTES = 100 * 2**20  # of one member; images and lists are far smaller
# What reading a damaged archive raises besides: packed in a way that is not
# known, encrypted, cut off.
_DAMAGED = (
    EOFError,
    IndexError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
# Of the headers of one member of a tar archive: long names, attributes.
MAX_HEADERS = 64 * 2**10
MAX_GLOBALS = 100  # attributes of all members that follow
_PACKED = (
    (b'\x1f\x8b', gzip.open),
    (b'BZh', bz2.open),
    (b'\xfd7zXZ\0', lzma.open),
    (b'\x5d\0\0\x80', lzma.open),
)
Take = Callable[[str, Callable[[], bytes]], None]


def read_archive(path: Path, take: Take) -> None:
    """Show every file of an archive.

    Nothing is written: the caller decides what becomes of the bytes.

    Args:
        path: A tar (compressed or not) or zip archive.
        take: Called with the name of each file and a function that reads it.

    Raises:
        ValueError: if the archive is broken, or holds links, devices, very
            large files, headers of more than `MAX_HEADERS` bytes or paths that
            lead out of it.
    """
    if path.name.lower().endswith('.zip'):
        read_zip(path, take)
    else:
        read_tar(path, take)


def read_tar(path: Path, take: Take) -> None:
    """Show the files of a tar archive, refusing unsafe ones."""
    try:
        with _unpacked(path) as raw:
            file = _Counted(raw, path)
            with tarfile.TarFile(fileobj=file) as archive:
                _read_members(archive, file, path, take)
    except (tarfile.TarError, OSError, *_DAMAGED) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk; those of gzip and bz2 have no number
        raise ValueError(
            f'expected a complete tar archive, got {path}: {error}'
        ) from error


def _read_members(
    archive: tarfile.TarFile, file: '_Counted', path: Path, take: Take
) -> None:
    while (member := archive.next()) is not None:
        archive.members.clear()  # or it keeps all of them
        if len(archive.pax_headers) > MAX_GLOBALS:
            raise ValueError(
                f'expected at most {MAX_GLOBALS} global attributes in {path}, '
                f'got {len(archive.pax_headers)}; refused'
            )
        check_name(member.name, path)
        if not member.isdir():
            if not member.isfile() or member.issparse():
                kind = 'sparse file' if member.isfile() else 'link or device'
                raise ValueError(
                    f'expected files and folders only in {path}, got a '
                    f'{kind} {member.name!r}; refused'
                )
            check_bytes(member.name, member.size, path)
            file.left = None
            take(
                member.name,
                lambda m=member, a=archive: a.extractfile(m).read(),
            )
        file.left = MAX_HEADERS


class _Counted:
    """A file that refuses to give more than `left` bytes.

    tarfile reads long names and attributes whole, however long they are.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.left: int | None = MAX_HEADERS  # None is no limit
        self.tell, self.seek = file.tell, file.seek
        self.name, self.mode = str(path), 'rb'

    def read(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            ValueError: if they are more than what is left.
        """
        if self.left is not None:
            self.left -= size
            if self.left < 0:
                raise ValueError(
                    f'expected at most {MAX_HEADERS} bytes of headers for '
                    f'each file of {self.path}, got more; refused'
                )
        return self.file.read(size)


def _unpacked(path: Path) -> BinaryIO:
    """The bytes of a tar archive, compressed or not."""
    with path.open('rb') as file:
        start = file.read(512)
    if start[257:262] == b'ustar':  # whatever its first name begins with
        return path.open('rb')
    for magic, opener in _PACKED:
        if start.startswith(magic):
            return opener(path, 'rb')
    return path.open('rb')


def read_zip(path: Path, take: Take) -> None:
    """Show the files of a zip archive, refusing unsafe ones."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                check_name(member.filename, path)
                if member.is_dir():
                    continue
                check_bytes(member.filename, member.file_size, path)
                take(
                    member.filename,
                    lambda m=member, a=archive: a.read(m),
                )
    except (zipfile.BadZipFile, *_DAMAGED) as error:
        raise ValueError(
            f'expected a complete zip archive, got {path}: {error}'
        ) from error


def check_name(name: str, archive: Path) -> None:
    """Refuse a member that points out of the archive."""
    parts = PurePosixPath(name.replace('\\', '/'))
    if parts.is_absolute() or '..' in parts.parts or ':' in name:
        raise ValueError(
            f'expected relative paths in {archive}, got {name!r}; refused'
        )


def check_bytes(name: str, size: int, archive: Path) -> None:
    """Refuse a member that is far too large to be an image or a list."""
    if size > MAX_BYTES:
        raise ValueError(
            f'expected small files in {archive}, got {name!r} of {size} bytes'
        )
