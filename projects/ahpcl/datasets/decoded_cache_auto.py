"""The decoded cache that nobody has to think of: where it is, and whether."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ahpcl.utils.ranks import on_rank_0

from .decoded_cache import DecodedCache
from .decoded_cache_build import estimated_bytes, remove_cache
from .decoded_cache_open import (
    PATIENCE,
    lies_within,
    log,
    places_of,
    prepare,
)
from .decoded_index import INDEX, DamagedCacheError, digest, name_hashes
from .manifest import Manifest
from .pixel_format import USUAL, PixelFormat
from .roots import Roots, roots_of

# Nobody asked for an automatic cache: it must not be large, in bytes and as a
# share of what is free on the disk.
_LARGEST = 10**10
_SHARE = 0.1


def open_automatic(
    paths: Sequence[str],
    *,
    root: Roots = '',
    max_side: int | None = None,
    pixels: PixelFormat = USUAL,
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
        pixels: How files become 8 bits.

    Returns:
        The cache, and the place of every image in it, (N,) int64; None where
        there is none.

    Raises:
        ValueError: if an image cannot be read.
        RuntimeError: on the other ranks, if rank 0 failed so.
    """
    names = name_hashes(paths, root)

    def find() -> tuple[str, str]:
        """Return the folder; or nothing, and why."""
        _mention_old_cache(root)
        folder = default_folder(root, paths, max_side, pixels)
        if lies_within(folder, root):
            return '', (
                f'{folder} lies within the data; set AHPCL_CACHE to a folder '
                f'outside of it'
            )
        try:
            refusal = _too_large(folder, paths, max_side, pixels.channels)
            if refusal:
                return '', refusal
            try:
                prepare(folder, paths, root, names, max_side, pixels)
            except DamagedCacheError as error:
                log(f'{error}; builds it again', logging.WARNING)
                remove_cache(folder)
                prepare(folder, paths, root, names, max_side, pixels)
        except OSError as error:
            return '', str(error)
        return str(folder), ''

    folder, why = on_rank_0(find, 'the decoded cache', PATIENCE)
    if folder:
        # Another node may have another disk under the same name.
        try:
            cache = DecodedCache(folder)
            places = places_of(
                Path(folder), cache.index, paths, names, max_side, pixels
            )
        except (OSError, ValueError) as error:
            why = str(error)
        else:
            return cache, places
    log(
        f'no decoded cache: {why}. Every image is decoded every time; give a '
        f'folder as decoded_cache to have one',
        logging.WARNING,
    )
    return None


def _too_large(
    folder: Path, paths: Sequence[str], max_side: int | None, channels: int
) -> str | None:
    """Say why an automatic cache would be too large; None if it is not."""
    if (folder / INDEX).exists():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    need = estimated_bytes(paths, max_side, channels=channels)
    free = shutil.disk_usage(folder).free
    if need <= min(_LARGEST, _SHARE * free):
        return None
    return (
        f'the {len(paths)} images would take about {need / 1e9:,.1f} GB '
        f'decoded, of {free / 1e9:,.1f} GB that are free in {folder}; without '
        f'being asked for, a cache takes up to {_LARGEST / 1e9:.0f} GB and '
        f'{_SHARE:.0%} of the free disk'
    )


def _mention_old_cache(root: Roots) -> None:
    for one in roots_of(root):
        old = Path(one, '.decoded')
        if one and old.is_dir():
            log(
                f'{old} is a decoded cache of version 0.1, which is not used '
                f'any more: delete it',
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
    root: Roots,
    paths: Sequence[str],
    max_side: int | None,
    pixels: PixelFormat = USUAL,
) -> Path:
    """Return where the cache of a list of images is kept by default.

    A folder below :func:`cache_home` for every :class:`Manifest`: the same
    images find it again, also where they were moved together; others, or the
    same ones reduced otherwise, have another.

    Args:
        root: Folder of the data.
        paths: Path of every image.
        max_side: Longest side in the cache, px; None for every pixel.
        pixels: How files become 8 bits.
    """
    content = Manifest.of(paths, root).digest() + str(max_side).encode()
    content += pixels.digest()
    return cache_home() / 'decoded' / digest(content)[:8].hex()
