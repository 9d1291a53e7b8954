"""Decoded images in one memory-mapped file, shared by workers and ranks."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

VERSION = 1
IMAGES = 'images.bin'
INDEX = 'index.npz'
_DIGEST = 16
_ARRAYS = (
    'meta',
    'offsets',
    'shapes',
    'names',
    'file_sizes',
    'mtimes',
    'hashes',
)
_BROKEN = (
    ValueError,
    KeyError,
    OSError,
    EOFError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
)


@dataclass
class CacheIndex:
    """What is where in the file of pixels, and what it was made from.

    Attributes:
        max_side: Longer sides were reduced to it; 0 for none.
        build: Number of the build, which the file of pixels ends with.
        offsets: First byte of every image and the end, (N + 1,) int64.
        shapes: Height and width, (N, 2) int32.
        names: A hash of every path, (N,) uint64.
        file_sizes: Bytes of every file, (N,) int64.
        mtimes: When it was changed, ns, (N,) int64.
        hashes: Of its content, (N, 16) uint8.
    """

    max_side: int
    build: bytes
    offsets: np.ndarray
    shapes: np.ndarray
    names: np.ndarray
    file_sizes: np.ndarray
    mtimes: np.ndarray
    hashes: np.ndarray

    def to_bytes(self) -> bytes:
        """The index as a file: a digest, and arrays without pickle."""
        buffer = io.BytesIO()
        meta = np.frombuffer(self.build, np.uint8).astype(np.int64)
        meta = np.concatenate([[VERSION, self.max_side], meta])
        np.savez(
            buffer,
            meta=meta,
            **{name: getattr(self, name) for name in _ARRAYS[1:]},
        )
        content = buffer.getvalue()
        return _digest(content) + content

    @classmethod
    def from_file(cls, path: Path) -> CacheIndex:
        """Read an index.

        Raises:
            ValueError: If it is no index, of another version, or damaged.
        """
        try:
            content = path.read_bytes()
            if _digest(content[_DIGEST:]) != content[:_DIGEST]:
                raise ValueError('its checksum does not fit')
            with np.load(
                io.BytesIO(content[_DIGEST:]), allow_pickle=False
            ) as file:
                arrays = {name: file[name] for name in _ARRAYS}
            meta = arrays.pop('meta')
            if int(meta[0]) != VERSION:
                raise ValueError(
                    f'version {int(meta[0])} instead of {VERSION}'
                )
            return cls(
                max_side=int(meta[1]),
                build=meta[2:].astype(np.uint8).tobytes(),
                **arrays,
            )
        except _BROKEN as error:
            raise ValueError(
                f'expected the index of a decoded cache, got {path}: '
                f'{error}; delete the folder {path.parent}, it is built anew'
            ) from error


class DecodedCache:
    """Decoded images on disk, RGB, read as they are needed.

    The operating system shares the pages among all processes that map the
    file, and drops them where memory is short.

    Args:
        folder: Of the cache.

    Raises:
        ValueError: If the files are damaged, truncated or of another
            version.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.index = CacheIndex.from_file(self.folder / INDEX)
        self._check_pixels()
        self._pixels: np.memmap | None = None

    def __len__(self) -> int:
        return len(self.index.shapes)

    def __getstate__(self) -> dict:
        # A map is opened again by every process that reads.
        return {**self.__dict__, '_pixels': None}

    def rgb(self, place: int) -> np.ndarray:
        """One image, uint8 (H, W, 3), a view of the file."""
        if self._pixels is None:
            self._pixels = np.memmap(
                self.folder / IMAGES, dtype=np.uint8, mode='r'
            )
        start, stop = self.index.offsets[place : place + 2]
        height, width = self.index.shapes[place]
        return self._pixels[start:stop].reshape(height, width, 3)

    def bgr(self, place: int) -> np.ndarray:
        """A private copy of one image, uint8 (H, W, 3), B, G, R."""
        return np.ascontiguousarray(self.rgb(place)[:, :, ::-1])

    def is_of(self, place: int, path: str) -> bool:
        """Whether an image was made from a path."""
        return place < len(self) and self.index.names[place] == name_hash(path)

    def _check_pixels(self) -> None:
        file = self.folder / IMAGES
        index = self.index
        end = int(index.offsets[-1]) if len(index.offsets) else 0
        expected = end + len(index.build)
        size = file.stat().st_size if file.is_file() else 0
        if size != expected:
            raise ValueError(
                f'expected {expected} bytes in {file}, got {size}: the '
                'decoded cache is truncated or of another build; delete the '
                f'folder {self.folder}, it is built anew'
            )
        with file.open('rb') as stream:
            stream.seek(end)
            build = stream.read()
        pixels = index.shapes.astype(np.int64).prod(axis=1) * 3
        if build != index.build or not np.array_equal(
            np.diff(index.offsets), pixels
        ):
            raise ValueError(
                f'expected pixels and index of one build in {self.folder}, '
                'got different ones; delete the folder, it is built anew'
            )


def name_hash(path: str) -> np.uint64:
    """64 bits of a path."""
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return np.frombuffer(digest, np.uint64)[0]


def name_hashes(paths: Sequence[str]) -> np.ndarray:
    """Those of many, (N,) uint64."""
    return np.array([name_hash(path) for path in paths], dtype=np.uint64)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()
