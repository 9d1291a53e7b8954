"""Opens a decoded cache, and builds it where it is missing or outdated."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from ahpcl.utils.ranks import on_rank_0

from .decoded_cache import DecodedCache
from .decoded_cache_build import build_cache
from .decoded_index import (
    INDEX,
    CacheIndex,
    digest,
    name_hashes,
)
from .pixel_format import USUAL, PixelFormat
from .roots import Roots, roots_of

# Images of a large data set take hours to decode.
PATIENCE = timedelta(days=2)
_REMEDY = (
    'delete the folder and it is built again, give each list of images its '
    "own, or set decoded_cache='auto'"
)


def open_or_build(
    folder: str | os.PathLike[str],
    paths: Sequence[str],
    *,
    root: Roots = '',
    max_side: int | None = None,
    pixels: PixelFormat = USUAL,
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
        pixels: How files become 8 bits.

    Returns:
        The cache, and the place of every image in it, (N,) int64.

    Raises:
        ValueError: if a cache that is there is damaged, of other images or
            of another `max_side` or other `pixels`, if the folder lies among
            the images, or an image cannot be read.
        OSError: if the folder cannot be written or the disk has too little
            room, with what is needed and what there is.
        RuntimeError: on the other ranks, if rank 0 failed.
    """
    folder = Path(folder)
    _check_outside(folder, root)
    names = name_hashes(paths, root)
    on_rank_0(
        lambda: prepare(folder, paths, root, names, max_side, pixels),
        f'the decoded cache {folder}',
        PATIENCE,
    )
    cache = DecodedCache(folder)
    return cache, places_of(
        folder, cache.index, paths, names, max_side, pixels
    )


def prepare(
    folder: Path,
    paths: Sequence[str],
    root: Roots,
    names: np.ndarray,
    max_side: int | None,
    pixels: PixelFormat = USUAL,
) -> None:
    """Build the cache of a folder where there is none that holds."""
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        reason = _reason(folder, paths, names, max_side, pixels)
        if reason is None:
            return
        log(f'decoded cache {folder}: {reason}')
        reduced = build_cache(
            folder, paths, root=root, max_side=max_side, pixels=pixels
        )
        if reduced:
            log(
                f'decoded cache {folder}: {reduced} of {len(paths)} images '
                f'had a longer side above decoded_max_side={max_side} px and '
                f'are stored reduced to it'
            )
        log(f'decoded cache {folder}: {_beside(folder)}')


def lies_within(folder: Path, root: Roots) -> bool:
    """Tell whether a folder is one of those of the data, or below it."""
    return any(
        folder.resolve().is_relative_to(Path(one).resolve())
        for one in roots_of(root)
        if one and not Path(one).is_file()
    )


def _check_outside(folder: Path, root: Roots) -> None:
    """Refuse a cache among the images, which others take for a class.

    Raises:
        ValueError: if it lies there.
    """
    if lies_within(folder, root):
        raise ValueError(
            f'expected decoded_cache outside of the data, got {folder} within '
            f'{root}: whatever reads that folder would take it for images or '
            f"for a class; give another folder, or 'auto' for one in your "
            f'cache folder'
        )


def _reason(
    folder: Path,
    paths: Sequence[str],
    names: np.ndarray,
    max_side: int | None,
    pixels: PixelFormat,
) -> str | None:
    """Say why the cache must be built; None where it is up to date."""
    if not (folder / INDEX).exists():
        return f'decodes {len(paths)} images'
    index = DecodedCache(folder).index
    places = places_of(folder, index, paths, names, max_side, pixels)
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
        log(
            f'decoded cache {folder}: {gone} of {len(paths)} files are gone, '
            'their decoded images are used',
            logging.WARNING,
        )
    if touched:
        _refresh(folder, index, touched)
    return None


def places_of(
    folder: Path,
    index: CacheIndex,
    paths: Sequence[str],
    names: np.ndarray,
    max_side: int | None,
    pixels: PixelFormat = USUAL,
) -> np.ndarray:
    """Return the place of every image in the cache.

    Raises:
        ValueError: if one is not there, or `max_side` or `pixels` are
            others.
    """
    if index.pixels != pixels.digest():
        raise ValueError(
            f'expected a decoded cache of images with {pixels.as_dict()} in '
            f'{folder}, got one with other channels, range or pages; give '
            f'these numbers to all data sets of the cache, {_REMEDY}'
        )
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
        log(
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
            log(f'decoded cache {folder}: waits for another run')
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            log(f'decoded cache {folder}: no lock ({error})', logging.WARNING)
        yield


def log(message: str, level: int = logging.INFO) -> None:
    """Log a line about a cache."""
    print_log(message, logger='current', level=level)
