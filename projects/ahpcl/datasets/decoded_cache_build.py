"""Decodes images into a cache, atomically."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from ahpcl.utils.atomic_write import publish
from ahpcl.utils.progress import watched

from .decode import read_image, stored, unreadable
from .decoded_index import INDEX, CacheIndex, digest, name_hashes
from .pixel_format import USUAL, PixelFormat
from .raw_pixels import inspect
from .roots import Roots
from .scan import usable_cores

T = TypeVar('T')

# Space that must stay free on the disk beside the cache.
_SPARE = 2**26
_INDEX_BYTES = 64  # size of the index for one image


def build_cache(
    folder: str | os.PathLike[str],
    paths: Sequence[str],
    *,
    root: Roots = '',
    max_side: int | None = None,
    pixels: PixelFormat = USUAL,
) -> int:
    """Decode images into a cache, which replaces an existing one.

    An interrupted build leaves nothing that looks like a cache.

    Args:
        folder: Folder of the cache. It is made where it does not exist.
        paths: Paths of the images.
        root: Folder of the data, see
            :func:`ahpcl.datasets.decoded_index.name_hashes`.
        max_side: Reduce longer sides to it (Pillow's box filter), px; None
            keeps every pixel.
        pixels: How files become 8 bits.

    Returns:
        How many images were reduced.

    Raises:
        ValueError: if `max_side` is below 1 or an image cannot be read.
        OSError: if the disk has too little room, with what is needed and
            what there is, or the folder cannot be written.
    """
    if max_side is not None and max_side < 1:
        raise ValueError(
            f'expected max_side of at least 1 px, or None, got {max_side}'
        )
    names = name_hashes(paths, root)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_cache(folder)  # makes room for the new one
    _check_room(folder, paths, max_side, pixels.channels)
    build = os.urandom(16)
    partial = folder / f'images-{build.hex()}.part'
    shapes, hashes, stats = [], [], []
    num_reduced = 0
    try:
        with partial.open('wb') as stream:
            for image, was_reduced, content, stat in watched(
                _ordered(lambda path: _decode(path, max_side, pixels), paths),
                'Decoding images',
                len(paths),
            ):
                stream.write(image)
                num_reduced += was_reduced
                shapes.append(image.shape[1:])
                hashes.append(np.frombuffer(content, np.uint8))
                stats.append((stat.st_size, stat.st_mtime_ns))
            stream.write(build)
        lengths = np.array(shapes, dtype=np.int64).prod(axis=1)
        lengths *= pixels.channels
        file_sizes, mtimes = np.array(stats, dtype=np.int64).T
        index = CacheIndex(
            channels=pixels.channels,
            pixels=pixels.digest(),
            max_side=max_side or 0,
            build=build,
            offsets=np.concatenate([[0], lengths.cumsum()]).astype(np.int64),
            shapes=np.array(shapes, dtype=np.int32),
            names=names,
            file_sizes=file_sizes,
            mtimes=mtimes,
            hashes=np.stack(hashes),
        )
        # The index last: pixels without it are no cache.
        publish(partial, folder / index.pixel_file)
        index.write(folder)
    finally:
        partial.unlink(missing_ok=True)
    return num_reduced


def remove_cache(folder: Path) -> None:
    """Delete the files of a cache, and leftovers of interrupted builds."""
    (folder / INDEX).unlink(missing_ok=True)
    for pattern in ('images-*.bin', 'images-*.part', f'{INDEX}.*.part'):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)


def reduced(image: np.ndarray, max_side: int | None) -> np.ndarray:
    """Return an image (H, W, C) with its longer side at most `max_side`."""
    height, width = image.shape[:2]
    size = _bounded(width, height, max_side)
    if size == (width, height):
        return image
    if image.shape[2] != 3:  # Pillow knows no bands beyond colour and alpha
        bands = [image[:, :, band] for band in range(image.shape[2])]
        return np.stack([_resized(band, size) for band in bands], axis=2)
    return _resized(image, size)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(
        Image.fromarray(np.ascontiguousarray(image)).resize(
            size, Image.Resampling.BOX
        )
    )


def _bounded(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    longer = max(width, height)
    if max_side is None or longer <= max_side:
        return width, height
    return (
        max(1, round(width * max_side / longer)),
        max(1, round(height * max_side / longer)),
    )


def _decode(
    path: str, max_side: int | None, pixels: PixelFormat
) -> tuple[np.ndarray, bool, bytes, os.stat_result]:
    """Return an image, if it was reduced, its file's hash and old state."""
    try:
        stat = os.stat(path)
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(unreadable(error, path)) from error
    whole = read_image(path, pixels, content=content)
    image = reduced(whole, max_side)
    planes = np.ascontiguousarray(stored(image).transpose(2, 0, 1))
    return planes, image is not whole, digest(content), stat


def _check_room(
    folder: Path, paths: Sequence[str], max_side: int | None, channels: int
) -> None:
    """Check that the disk has room, by the images' headers.

    Raises:
        OSError: if not.
    """
    need = _bytes(paths, max_side, channels)
    free = shutil.disk_usage(folder).free
    if need + _SPARE > free:
        raise OSError(
            errno.ENOSPC,
            f'expected {_mib(need + _SPARE)} free for the decoded cache of '
            f'{len(paths)} images, got {_mib(free)}; give another folder '
            '(decoded_cache), a smaller decoded_max_side, or leave '
            'decoded_cache out',
            str(folder),
        )


def estimated_bytes(
    paths: Sequence[str],
    max_side: int | None,
    sample: int = 512,
    channels: int = 3,
) -> int:
    """Return what a cache of some images takes on disk, about, in bytes.

    Args:
        paths: Path of every image.
        max_side: Longest side in the cache, px; None for every pixel.
        sample: Images whose headers are read, spread evenly over the list.
        channels: Bands of every image.
    """
    count = min(sample, len(paths))
    some = [paths[i * len(paths) // count] for i in range(count)]
    return _bytes(some, max_side, channels) * len(paths) // count


def _bytes(paths: Sequence[str], max_side: int | None, channels: int) -> int:
    """Return what a cache of these images takes on disk, by their headers."""

    def pixels(path: str) -> int:
        try:
            with open(path, 'rb') as file:
                size = inspect(file)[0].size
            width, height = _bounded(*size, max_side)
        except Exception:
            return 0  # said with its path when it is decoded
        return width * height

    return sum(
        channels * count + _INDEX_BYTES
        for count in watched(
            _ordered(pixels, paths), 'Measuring images', len(paths)
        )
    )


def _mib(size: int) -> str:
    return f'{size / 2**20:,.0f} MiB'


def _ordered(work: Callable[[str], T], paths: Sequence[str]) -> Iterator[T]:
    """Yield results in order; threads work a bounded number ahead."""
    workers = min(16, usable_cores())
    with ThreadPoolExecutor(workers) as pool:
        waiting = iter(paths)
        ahead = deque(
            pool.submit(work, path)
            for path in itertools.islice(waiting, 4 * workers)
        )
        try:
            while ahead:
                yield ahead.popleft().result()
                for path in itertools.islice(waiting, 1):
                    ahead.append(pool.submit(work, path))
        finally:
            pool.shutdown(cancel_futures=True)
