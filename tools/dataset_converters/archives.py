"""Read tar and zip archives that may be hostile, without extracting."""

import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

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
Take = Callable[[str, Callable[[], bytes]], None]


def read_archive(path: Path, take: Take) -> None:
    """Show every file of an archive.

    Nothing is written: the caller decides what becomes of the bytes.

    Args:
        path: A tar (compressed or not) or zip archive.
        take: Called with the name of each file and a function that reads it.

    Raises:
        ValueError: if the archive is broken, or holds links, devices, very
            large files or paths that lead out of it.
    """
    if path.name.lower().endswith('.zip'):
        read_zip(path, take)
    else:
        read_tar(path, take)


def read_tar(path: Path, take: Take) -> None:
    """Show the files of a tar archive, refusing unsafe ones."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                check_name(member.name, path)
                if member.isdir():
                    continue
                if not member.isfile():
                    raise ValueError(
                        f'expected files and folders only in {path}, got a '
                        f'link or device {member.name!r}; refused'
                    )
                check_bytes(member.name, member.size, path)
                take(
                    member.name,
                    lambda m=member, a=archive: a.extractfile(m).read(),
                )
    except (tarfile.TarError, *_DAMAGED) as error:
        raise ValueError(
            f'expected a complete tar archive, got {path}: {error}'
        ) from error


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
