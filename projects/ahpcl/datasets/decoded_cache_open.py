"""Opens a decoded cache, and builds it where it is missing or outdated."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from ahpcl.utils.ranks import on_rank_0

from .decoded_cache import DecodedCache
from .decoded_cache_build import build_cache, estimated_bytes, remove_cache
from .decoded_index import (
    INDEX,
    CacheIndex,
    DamagedCacheError,
    digest,
    name_hashes,
)
from .manifest import Manifest

# Images of a large data set take hours to decode.
_PATIENCE = timedelta(days=2)
_REMEDY = (
    'delete the folder and it is built again, give each list of images its '
    "own, or set decoded_cache='auto'"
)
# Nobody asked for an automatic cache: it must not be large, in bytes and as a
# share of what is free on the disk.
_LARGEST = 10**10
_SHARE = 0.1


def open_or_build(
    folder: str | os.PathLike[str],
    paths: Sequence[str],
    *,
    root: str | os.PathLike[str] = '',
    max_side: int | None = None,
) -> tuple[DecodedCache, np.ndarray]:
    """Return the decoded cache of some images. This is a collective call.

    Rank 0 builds it where there is none or a file has changed, under a lock,
    so that runs which start together build it once. A file that was only
    touched is read once more and its content compared. A file that is gone
    counts as unchanged. The cache may hold more images than are asked for.

    Args:
        folder: Folder of the cache, which all ranks must see.
        paths: Paths of the images, in the order of the data set.
        root: Folder of the data, see
            :func:`ahpcl.datasets.decoded_index.name_hashes`.
        max_side: Reduce longer sides to it, px; None keeps every pixel.

    Returns:
        The cache, and the place of every image in it, (N,) int64.

    Raises:
        ValueError: if a cache that is there is damaged, of other images or
            of another `max_side`, if the folder lies among the images, or an
            image cannot be read.
        OSError: if the folder cannot be written or the disk has too little
            room, with what is needed and what there is.
        RuntimeError: on the other ranks, if rank 0 failed.
    """
    folder = Path(folder)
    _check_outside(folder, root)
    names = name_hashes(paths, root)
    on_rank_0(
        lambda: _prepare(folder, paths, root, names, max_side),
        f'the decoded cache {folder}',
        _PATIENCE,
    )
    cache = DecodedCache(folder)
    return cache, _places(folder, cache.index, paths, names, max_side)


def open_automatic(
    paths: Sequence[str],
    *,
    root: str | os.PathLike[str] = '',
    max_side: int | None = None,
) -> tuple[DecodedCache, np.ndarray] | None:
    """Return a decoded cache that nobody has to think of; a collective call.

    It lies in :func:`default_folder`. There is none, and a line of the log
    says why, where it would take more than 10 GB or a tenth of the free disk
    and where the folder cannot be written, read or mapped; one that is
    damaged is built again.

    Args:
        paths: As in :func:`open_or_build`, as all below.
        root: Folder of the data.
        max_side: Reduce longer sides to it, px.

    Returns:
        The cache, and the place of every image in it, (N,) int64; None where
        there is none.

    Raises:
        ValueError: if an image cannot be read.
        RuntimeError: on the other ranks, if rank 0 failed so.
    """
    names = name_hashes(paths, root)

    def prepare() -> tuple[str, str]:
        """Return the folder; or nothing, and why."""
        _mention_old_cache(root)
        folder = default_folder(root, paths, max_side)
        try:
            refusal = _too_large(folder, paths, max_side)
            if refusal:
                return '', refusal
            try:
                _prepare(folder, paths, root, names, max_side)
            except DamagedCacheError as error:
                _log(f'{error}; builds it again', logging.WARNING)
                remove_cache(folder)
                _prepare(folder, paths, root, names, max_side)
        except OSError as error:
            return '', str(error)
        return str(folder), ''

    folder, why = on_rank_0(prepare, 'the decoded cache', _PATIENCE)
    if folder:
        # Another node may have another disk under the same name.
        try:
            cache = DecodedCache(folder)
            places = _places(Path(folder), cache.index, paths, names, max_side)
        except (OSError, ValueError) as error:
            why = str(error)
        else:
            return cache, places
    _log(
        f'no decoded cache: {why}. Every image is decoded every time; give a '
        f'folder as decoded_cache to have one',
        logging.WARNING,
    )
    return None


def _prepare(
    folder: Path,
    paths: Sequence[str],
    root: str | os.PathLike[str],
    names: np.ndarray,
    max_side: int | None,
) -> None:
    """Build the cache of a folder where there is none that holds."""
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        reason = _reason(folder, paths, names, max_side)
        if reason is None:
            return
        _log(f'decoded cache {folder}: {reason}')
        reduced = build_cache(folder, paths, root=root, max_side=max_side)
        if reduced:
            _log(
                f'decoded cache {folder}: {reduced} of {len(paths)} images '
                f'had a longer side above decoded_max_side={max_side} px and '
                f'are stored reduced to it'
            )
        _log(f'decoded cache {folder}: {_beside(folder)}')


def _too_large(
    folder: Path, paths: Sequence[str], max_side: int | None
) -> str | None:
    """Say why an automatic cache would be too large; None if it is not."""
    if (folder / INDEX).exists():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    need = estimated_bytes(paths, max_side)
    free = shutil.disk_usage(folder).free
    if need <= min(_LARGEST, _SHARE * free):
        return None
    return (
        f'the {len(paths)} images would take about {need / 1e9:,.1f} GB '
        f'decoded, of {free / 1e9:,.1f} GB that are free in {folder}; without '
        f'being asked for, a cache takes up to {_LARGEST / 1e9:.0f} GB and '
        f'{_SHARE:.0%} of the free disk'
    )


def _check_outside(folder: Path, root: str | os.PathLike[str]) -> None:
    """Refuse a cache among the images, which others take for a class.

    Raises:
        ValueError: if it lies there.
    """
    if not str(root):
        return
    data = Path(root).resolve()
    if folder.resolve().is_relative_to(data):
        raise ValueError(
            f'expected decoded_cache outside of the data, got {folder} within '
            f'{data}: whatever reads that folder would take it for images or '
            f"for a class; give another folder, or 'auto' for one in "
            f'{cache_home()}'
        )


def _mention_old_cache(root: str | os.PathLike[str]) -> None:
    old = Path(root, '.decoded')
    if str(root) and old.is_dir():
        _log(
            f'{old} is a decoded cache of version 0.1, which is not used any '
            f'more: delete it',
            logging.WARNING,
        )


def cache_home() -> Path:
    """Return where this package caches what it can make again.

    ``$AHPCL_CACHE``, by default ``ahpcl`` in ``$XDG_CACHE_HOME``, which is
    ``~/.cache`` by default.
    """
    own = os.environ.get('AHPCL_CACHE')
    if own:
        return Path(own)
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(home, 'ahpcl')


def default_folder(
    root: str | os.PathLike[str], paths: Sequence[str], max_side: int | None
) -> Path:
    """Return where the cache of a list of images is kept by default.

    A folder below :func:`cache_home` for every :class:`Manifest`: the same
    images find it again, also where they were moved together; others, or the
    same ones reduced otherwise, have another.

    Args:
        root: Folder of the data.
        paths: Path of every image.
        max_side: Longest side in the cache, px; None for every pixel.
    """
    content = Manifest.of(paths, root).digest() + str(max_side).encode()
    return cache_home() / 'decoded' / digest(content)[:8].hex()


def _reason(
    folder: Path,
    paths: Sequence[str],
    names: np.ndarray,
    max_side: int | None,
) -> str | None:
    """Say why the cache must be built; None where it is up to date."""
    if not (folder / INDEX).exists():
        return f'decodes {len(paths)} images'
    index = DecodedCache(folder).index
    places = _places(folder, index, paths, names, max_side)
    touched = gone = 0
    for path, place in zip(paths, places, strict=True):
        try:
            stat = os.stat(path)
        except FileNotFoundError:
            gone += 1
            continue
        state = stat.st_size, stat.st_mtime_ns
        if state == (index.file_sizes[place], index.mtimes[place]):
            continue
        content = digest(Path(path).read_bytes())
        if content != index.hashes[place].tobytes():
            return f'{path} has changed, decodes {len(paths)} images again'
        index.file_sizes[place], index.mtimes[place] = state
        touched += 1
    if gone:
        _log(
            f'decoded cache {folder}: {gone} of {len(paths)} files are gone, '
            'their decoded images are used',
            logging.WARNING,
        )
    if touched:
        _refresh(folder, index, touched)
    return None


def _places(
    folder: Path,
    index: CacheIndex,
    paths: Sequence[str],
    names: np.ndarray,
    max_side: int | None,
) -> np.ndarray:
    """Return the place of every image in the cache.

    Raises:
        ValueError: if one is not there, or `max_side` is another.
    """
    if index.max_side != (max_side or 0):
        raise ValueError(
            f'expected a decoded cache with decoded_max_side={max_side} in '
            f'{folder}, got {index.max_side or None}; {_REMEDY}'
        )
    places = index.places(names)
    missing = np.flatnonzero(places < 0)
    if len(missing):
        raise ValueError(
            f'expected a decoded cache of these {len(paths)} images in '
            f'{folder}, got one of {len(index)} images without {len(missing)} '
            f'of them, first {paths[missing[0]]}; {_REMEDY}'
        )
    return places


def _refresh(folder: Path, index: CacheIndex, touched: int) -> None:
    """Store new times of files. If that fails, they are read again later."""
    try:
        index.write(folder)
    except OSError as error:
        _log(
            f'decoded cache {folder}: {touched} files have new times, which '
            f'cannot be remembered ({error})',
            logging.WARNING,
        )


def _beside(folder: Path) -> str:
    """Describe the new cache and the older ones beside it, with sizes."""
    done = f'{_size(folder) / 2**20:,.0f} MiB'
    others = [
        other.parent
        for other in folder.parent.glob(f'*/{INDEX}')
        if other.parent != folder
    ]
    if not others:
        return f'done, {done}'
    total = sum(map(_size, others)) / 2**20
    return (
        f'done, {done}; {len(others)} others beside it take {total:,.0f} '
        'MiB, delete those that are no longer used'
    )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob('*.bin'))


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one run in at a time. The system frees the lock of one that dies.

    Where there are no locks (Windows, some network disks), runs that start
    together may each build it, and the last one stays.
    """
    try:
        import fcntl
    except ImportError:
        fcntl = None
    if fcntl is None or not os.access(folder, os.W_OK):
        yield
        return
    with (folder / 'lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log(f'decoded cache {folder}: waits for another run')
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            _log(f'decoded cache {folder}: no lock ({error})', logging.WARNING)
        yield


def _log(message: str, level: int = logging.INFO) -> None:
    print_log(message, logger='current', level=level)
