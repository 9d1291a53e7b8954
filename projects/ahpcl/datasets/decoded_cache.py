"""Decoded images in one memory-mapped file, shared by workers and ranks."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .decoded_index import CacheIndex, DamagedCacheError


class DecodedCache:
    """Decoded images on disk, read as they are needed.

    The operating system shares the pages among all processes that map the
    file, and drops them where memory is short. Images are stored as the
    model takes them, uint8 (C, H, W), channels B, G, R or bands as in the
    files, each in its own size.

    A cache that is built again in the same folder gets another file: who has
    this one open keeps reading it.

    Args:
        folder: Folder of the cache.

    Raises:
        ValueError: if the files are damaged, truncated or of another version.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.index = CacheIndex.read(self.folder)
        self._pixels = self._map()
        shapes = self.index.shapes
        self._table: np.ndarray | None = None
        if (shapes == shapes[0]).all():
            self._table = self._pixels.reshape(
                -1, self.index.channels, *shapes[0]
            )

    def __len__(self) -> int:
        return len(self.index)

    def __deepcopy__(self, memo: dict[int, Any]) -> DecodedCache:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_again, (self.folder, self.index.build)

    def bgr(self, place: int) -> np.ndarray:
        """Return a private copy of one image, uint8 (H, W, C)."""
        return np.ascontiguousarray(self._image(place).transpose(1, 2, 0))

    def block(self, places: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Return several images at once.

        Args:
            places: n places in the cache.

        Returns:
            uint8 (n, C, H, W); and, where sizes differ, the images'
            heights and widths (n, 2) int64, beyond which there are zeros at
            the right and at the bottom, else None.
        """
        places = np.asarray(places)
        if self._table is not None:
            return torch.from_numpy(self._table[places]), None
        shapes = self.index.shapes[places].astype(np.int64)
        height, width = shapes.max(axis=0)
        channels = self.index.channels
        block = np.zeros((len(places), channels, height, width), np.uint8)
        for row, place in enumerate(places):
            image = self._image(place)
            block[row, :, : image.shape[1], : image.shape[2]] = image
        equal = (shapes == shapes[0]).all()
        return torch.from_numpy(block), (
            None if equal else torch.from_numpy(shapes)
        )

    def _image(self, place: int) -> np.ndarray:
        """Return one image as it is stored, uint8 (C, H, W)."""
        start, stop = self.index.offsets[place : place + 2]
        shape = self.index.channels, *self.index.shapes[place]
        return self._pixels[start:stop].reshape(shape)

    def _map(self) -> np.ndarray:
        """Map the pixels of all images, (bytes,) uint8, of checked length."""
        file = self.folder / self.index.pixel_file
        size = file.stat().st_size if file.is_file() else 0
        if size != self.index.pixel_bytes:
            raise DamagedCacheError(
                f'expected {self.index.pixel_bytes} bytes in {file}, got '
                f'{size}: the decoded cache is truncated; delete the folder '
                f'{self.folder}, and it is built again'
            )
        mapped = np.memmap(file, dtype=np.uint8, mode='r').view(np.ndarray)
        end = int(self.index.offsets[-1])
        if mapped[end:].tobytes() != self.index.build:
            raise DamagedCacheError(
                f'expected the pixels of build {self.index.build.hex()} in '
                f'{file}, got others; delete the folder {self.folder}, and '
                'it is built again'
            )
        return mapped[:end]


def _opened_again(folder: Path, build: bytes) -> DecodedCache | None:
    """Return the cache in a spawned worker; None if it is gone.

    The worker then decodes its images, to the same pixels.
    """
    try:
        cache = DecodedCache(folder)
        if cache.index.build == build:
            return cache
        why = 'it was built again meanwhile'
    except (OSError, ValueError) as error:
        why = str(error)
    warnings.warn(
        f'the decoded cache {folder} is not used in this worker, which '
        f'decodes every image: {why}',
        stacklevel=2,
    )
    return None
