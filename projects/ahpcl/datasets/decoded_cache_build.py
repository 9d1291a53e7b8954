"""Builds decoded caches, and finds out whether one still holds."""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from .decode import read_rgb
from .decoded_cache import (
    IMAGES,
    INDEX,
    CacheIndex,
    DecodedCache,
    name_hash,
    name_hashes,
)

_GIB = 2**30
# What must stay free on the disk beside the cache.
_SPARE = 2**26


def open_or_build(
    folder: str | os.PathLike[str],
    paths: Sequence[str],
    *,
    max_side: int | None = None,
) -> DecodedCache:
    """The cache of some images; built by rank 0 where it must be.

    A cache of other images, of another `max_side`, or of files that have
    changed is built anew. A file that was only touched is read once more and
    its content compared.

    Args:
        folder: Of the cache; made if need be.
        paths: Of the images, in the order of the data set.
        max_side: Longer sides are reduced to it; None keeps every pixel.

    Raises:
        ValueError: If a cache that is there is damaged, or an image cannot
            be read.
        OSError: If the folder cannot be written or the disk has too little
            room, with what is needed and what there is.
    """
    folder = Path(folder)
    failure: Exception | None = None
    if is_main_process():
        try:
            reason = _why_not(folder, paths, max_side or 0)
            if reason is not None:
                print_log(f'decoded cache {folder}: {reason}', 'current')
                build_cache(folder, paths, max_side=max_side)
        except Exception as error:
            # The other ranks wait below; they fail when they open it.
            failure = error
    barrier()
    if failure is not None:
        raise failure
    cache = DecodedCache(folder)
    if not np.array_equal(cache.index.names, name_hashes(paths)):
        raise ValueError(
            f'expected a decoded cache of these {len(paths)} images in '
            f'{folder}, got one of others; rank 0 could not build it, or '
            'another run uses the folder: give each data set its own'
        )
    return cache


def build_cache(
    folder: str | os.PathLike[str],
    paths: Sequence[str],
    *,
    max_side: int | None = None,
) -> None:
    """Decode all images into a cache; whole or not at all.

    Args:
        folder: Of the cache.
        paths: Of the images.
        max_side: Longer sides are reduced to it (box filter, whole factors
            are exact); None keeps every pixel.

    Raises:
        ValueError: If `max_side` is below 1 or an image cannot be read.
        OSError: If the disk has too little room or refuses.
    """
    if max_side is not None and max_side < 1:
        raise ValueError(
            f'expected max_side of at least 1 px, or None, got {max_side}'
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(folder, paths, max_side)
    partial = folder / f'{IMAGES}.{os.getpid()}.part'
    build = os.urandom(16)
    shapes, hashes, sizes, mtimes = [], [], [], []
    try:
        with partial.open('wb') as stream:
            for image, content, stat in _decoded(paths, max_side):
                stream.write(image.tobytes())
                shapes.append(image.shape[:2])
                hashes.append(np.frombuffer(content, np.uint8))
                sizes.append(stat.st_size)
                mtimes.append(stat.st_mtime_ns)
            stream.write(build)
            stream.flush()
            os.fsync(stream.fileno())
        lengths = np.array(shapes, dtype=np.int64).prod(axis=1) * 3
        index = CacheIndex(
            max_side=max_side or 0,
            build=build,
            offsets=np.concatenate([[0], lengths.cumsum()]).astype(np.int64),
            shapes=np.array(shapes, dtype=np.int32),
            names=name_hashes(paths),
            file_sizes=np.array(sizes, dtype=np.int64),
            mtimes=np.array(mtimes, dtype=np.int64),
            hashes=np.stack(hashes),
        )
        # The index last: pixels without it are no cache.
        (folder / INDEX).unlink(missing_ok=True)
        partial.replace(folder / IMAGES)
        _write(folder, index)
    finally:
        partial.unlink(missing_ok=True)


def _write(folder: Path, index: CacheIndex) -> None:
    beside = folder / f'{INDEX}.{os.getpid()}.part'
    beside.write_bytes(index.to_bytes())
    beside.replace(folder / INDEX)


def _why_not(folder: Path, paths: Sequence[str], max_side: int) -> str | None:
    """Why the cache must be built; None where it holds."""
    if not (folder / INDEX).exists():
        return f'builds {len(paths)} images'
    index = DecodedCache(folder).index
    if index.max_side != max_side:
        return f'made with another max_side ({index.max_side}), builds anew'
    if not np.array_equal(index.names, name_hashes(paths)):
        return 'made from other images, builds anew'
    touched = False
    for place, path in enumerate(paths):
        stat = os.stat(path)
        if (
            stat.st_size == index.file_sizes[place]
            and stat.st_mtime_ns == index.mtimes[place]
        ):
            continue
        content = hashlib.blake2b(Path(path).read_bytes(), digest_size=16)
        if content.digest() != index.hashes[place].tobytes():
            return f'{path} has changed, builds anew'
        index.file_sizes[place] = stat.st_size
        index.mtimes[place] = stat.st_mtime_ns
        touched = True
    if touched:
        _write(folder, index)
    return None


def _check_room(
    folder: Path, paths: Sequence[str], max_side: int | None
) -> None:
    """Whether the disk has room, by the images' headers.

    Raises:
        OSError: If not.
    """
    need = 0
    for path in paths:
        try:
            with Image.open(path) as image:
                width, height = image.size
        except Exception:
            continue  # said with its path when it is decoded
        longer = max(width, height)
        if max_side is not None and longer > max_side:
            width = width * max_side // longer + 1
            height = height * max_side // longer + 1
        need += width * height * 3
    free = shutil.disk_usage(folder).free
    if need + _SPARE > free:
        raise OSError(
            errno.ENOSPC,
            f'expected {need / _GIB:.2f} GiB free for the decoded cache of '
            f'{len(paths)} images, got {free / _GIB:.2f} GiB; give another '
            'folder (decoded_cache), a smaller decoded_max_side, or leave '
            'decoded_cache out',
            str(folder),
        )


def _decoded(
    paths: Sequence[str], max_side: int | None
) -> Iterator[tuple[np.ndarray, bytes, os.stat_result]]:
    """Images in order, decoded by threads, a bounded number ahead."""
    workers = min(16, os.cpu_count() or 1)
    console = Console(stderr=True)
    with (
        ThreadPoolExecutor(workers) as pool,
        Progress(
            console=console, transient=True, disable=not console.is_terminal
        ) as progress,
    ):
        task = progress.add_task('decoded cache', total=len(paths))
        waiting = iter(paths)
        ahead = [
            pool.submit(_decode, path, max_side)
            for path in itertools.islice(waiting, 4 * workers)
        ]
        while ahead:
            yield ahead.pop(0).result()
            progress.advance(task)
            ahead += [
                pool.submit(_decode, path, max_side)
                for path in itertools.islice(waiting, 1)
            ]


def _decode(
    path: str, max_side: int | None
) -> tuple[np.ndarray, bytes, os.stat_result]:
    image = read_rgb(path)
    stat = os.stat(path)
    content = hashlib.blake2b(Path(path).read_bytes(), digest_size=16)
    longer = max(image.shape[:2])
    if max_side is not None and longer > max_side:
        size = tuple(
            max(1, round(side * max_side / longer))
            for side in (image.shape[1], image.shape[0])
        )
        reduced = Image.fromarray(image).resize(size, Image.Resampling.BOX)
        image = np.asarray(reduced)
    return np.ascontiguousarray(image), content.digest(), stat


def default_folder(
    data_root: str, paths: Sequence[str], max_side: int | None
) -> Path:
    """`.decoded` in the data's own folder, one for every list of images."""
    name = name_hash('\n'.join([str(max_side or 0), *paths]))
    return Path(data_root or '.') / '.decoded' / f'{int(name):016x}'


def warn_in_memory(description: str) -> None:
    """Say that a cache was asked for images that need none."""
    print_log(
        f'{description} has its images in memory: decoded_cache is not used',
        logger='current',
        level=logging.WARNING,
    )
