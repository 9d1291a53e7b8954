"""The index of a decoded cache: what is where, and what it was made from."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ahpcl.utils.atomic_write import atomic_write

from .roots import Roots, image_names

INDEX = 'index.bin'
_MAGIC = b'ahpcl decoded 1\n'
_DIGEST = 16
# Type and trailing axes of every array; the first axis is N, or N + 1.
_ARRAYS = {
    'offsets': (np.int64, ()),
    'shapes': (np.int32, (2,)),
    'names': (np.uint64, ()),
    'file_sizes': (np.int64, ()),
    'mtimes': (np.int64, ()),
    'hashes': (np.uint8, (_DIGEST,)),
}
_BROKEN = (
    ValueError,
    KeyError,
    OSError,
    EOFError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,  # of numpy, from the head of an array
    RuntimeError,  # of zipfile: encrypted, or packed in a way it has not
)


class DamagedCacheError(ValueError):
    """The files of a decoded cache are not as they were written."""


@dataclass
class CacheIndex:
    """What is where in the file of pixels, and what it was made from.

    Attributes:
        channels: Bands of every image.
        pixels: What :meth:`PixelFormat.digest` said of how they became 8
            bits; empty for the usual way.
        max_side: Longer sides were reduced to it, px; 0 for none.
        build: Number of the build, 16 bytes; it names the file of pixels,
            which ends with it.
        offsets: First byte of every image and the end, (N + 1,) int64.
        shapes: Height and width, px, (N, 2) int32.
        names: A hash of every name, see :func:`name_hashes`, (N,) uint64.
        file_sizes: Bytes of every file, (N,) int64.
        mtimes: When it was changed, ns, (N,) int64.
        hashes: Hashes of its content, (N, 16) uint8.
    """

    max_side: int
    build: bytes
    offsets: np.ndarray
    shapes: np.ndarray
    names: np.ndarray
    file_sizes: np.ndarray
    mtimes: np.ndarray
    hashes: np.ndarray
    channels: int = 3
    pixels: bytes = b''

    def __len__(self) -> int:
        return len(self.names)

    @property
    def pixel_file(self) -> str:
        """Name of the file of pixels."""
        return f'images-{self.build.hex()}.bin'

    @property
    def pixel_bytes(self) -> int:
        """Length of the file of pixels."""
        return int(self.offsets[-1]) + len(self.build)

    def places(self, names: np.ndarray) -> np.ndarray:
        """Return where images are, by the hashes of their names.

        Args:
            names: (M,) uint64.

        Returns:
            (M,) int64; -1 for those that are not in the cache.
        """
        order = np.argsort(self.names, kind='stable')
        found = np.searchsorted(self.names, names, sorter=order)
        places = order[np.minimum(found, len(self) - 1)]
        return np.where(self.names[places] == names, places, -1)

    def write(self, folder: Path) -> None:
        """Write the index into a folder atomically, over an older one."""
        buffer = io.BytesIO()
        unusual = {}
        if self.pixels:
            unusual['channels'] = np.array(self.channels)
            unusual['pixels'] = np.frombuffer(self.pixels, np.uint8)
        np.savez(
            buffer,
            **unusual,
            max_side=np.array(self.max_side),
            build=np.frombuffer(self.build, np.uint8),
            **{name: getattr(self, name) for name in _ARRAYS},
        )
        content = buffer.getvalue()
        with atomic_write(folder / INDEX) as beside:
            beside.write_bytes(_MAGIC + digest(content) + content)

    @classmethod
    def read(cls, folder: Path) -> CacheIndex:
        """Read the index of a folder; nothing in it is run.

        Raises:
            ValueError: if there is none, or it is damaged or of another
                version.
        """
        path = folder / INDEX
        try:
            content = path.read_bytes()
            head, content = content[: len(_MAGIC)], content[len(_MAGIC) :]
            if head != _MAGIC:
                raise ValueError(f'it does not begin with {_MAGIC!r}')
            if digest(content[_DIGEST:]) != content[:_DIGEST]:
                raise ValueError('its checksum does not fit')
            with np.load(
                io.BytesIO(content[_DIGEST:]), allow_pickle=False
            ) as file:
                side, build = _array(file, 'max_side'), _array(file, 'build')
                if side.shape != () or side.dtype.kind not in 'iu':
                    raise ValueError(f'max_side is {side.dtype} {side.shape}')
                unusual = {}
                if 'pixels' in file.files:
                    channels = _array(file, 'channels')
                    if channels.shape != () or channels.dtype.kind not in 'iu':
                        raise ValueError(f'channels is {channels.dtype}')
                    unusual['channels'] = int(channels)
                    unusual['pixels'] = _array(file, 'pixels').tobytes()
                index = cls(
                    **unusual,
                    max_side=int(side),
                    build=build.tobytes(),
                    **{name: _array(file, name) for name in _ARRAYS},
                )
            index._check()
        except _BROKEN as error:
            raise DamagedCacheError(
                f'expected the index of a decoded cache, got {path}: {error}; '
                f'delete the folder {folder}, and it is built again'
            ) from error
        return index

    def _check(self) -> None:
        if self.names.ndim != 1:
            raise ValueError(f'names is {self.names.dtype} {self.names.shape}')
        count = len(self.names)
        for name, (kind, axes) in _ARRAYS.items():
            array = getattr(self, name)
            rows = count + 1 if name == 'offsets' else count
            if array.dtype != kind or array.shape != (rows, *axes):
                raise ValueError(f'{name} is {array.dtype} {array.shape}')
        pixels = self.shapes.astype(np.int64).prod(axis=1) * self.channels
        if (
            count == 0
            or self.channels < 1
            or len(self.build) != _DIGEST
            or self.offsets[0] != 0
            or (self.shapes < 1).any()
            or not np.array_equal(np.diff(self.offsets), pixels)
        ):
            raise ValueError('its offsets do not fit its shapes')


def _array(file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    array = file[name]
    if not isinstance(array, np.ndarray):  # bytes, of other entries
        raise ValueError(f'{name} is no array')
    return array


def digest(content: bytes) -> bytes:
    """Return a hash of some content, 128 bits."""
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()


def name_hashes(paths: Sequence[str], root: Roots = '') -> np.ndarray:
    """Hash the name of every image, its path below the data's folder.

    Args:
        paths: Paths of the images.
        root: Folder of the data, or several, so that they may move.

    Returns:
        (N,) uint64.

    Raises:
        ValueError: if two names have one hash.
    """
    content = b''.join(
        hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
        for name in image_names(paths, root)
    )
    hashes = np.frombuffer(content, np.uint64)
    if len(np.unique(hashes)) != len(set(paths)):
        raise ValueError(
            f'expected {len(set(paths))} names with hashes of their own, got '
            f'{len(np.unique(hashes))}; rename one of the images, or leave '
            'decoded_cache out'
        )
    return hashes
