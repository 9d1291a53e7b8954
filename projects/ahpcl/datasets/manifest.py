"""Which images a data set has: what results about them belong to."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .changes import Changes, compare

# The contents of so many files are looked at; of more files so many, chosen
# by their names, so that most are the same when images come or go.
_MARKED_ALL = 50_000
_MARKED_SOME = 1024
# A content is looked at in three places: its beginning, middle and end.
_BLOCK = 4096
_CHUNK = 1024  # files that a thread looks at in one go
_THREADS = 16
# Loaders of one run list the same files: each is looked at once per process.
# Keys are hashes of (path, bytes, modification time in ns).
_known: dict[int, int] = {}


@dataclass(frozen=True, eq=False)
class Manifest:
    """The images of a data set by name, in its order.

    Attributes:
        names: Path of every image below the folder of the data, with '/'
            between its parts; the whole path of an image outside of it. N of
            them.
        sizes: Bytes of every file, (N,) int64; -1 where there is no file.
        marks: 64 bits that tell the contents of images apart, (N,) uint64; 0
            where a content was not looked at. Up to 50,000 files all are, of
            more files 1,024: their beginning, middle and end.

    Example:
        >>> Manifest.of(['photos/a.jpg', 'photos/new/b.jpg'], 'photos').names
        ('a.jpg', 'new/b.jpg')
    """

    names: tuple[str, ...]
    sizes: np.ndarray
    marks: np.ndarray

    @classmethod
    def of(
        cls, paths: Sequence[str], root: str | os.PathLike[str] = ''
    ) -> Manifest:
        """Describe images by the paths of their files.

        Looks at every file once: its size, and a few blocks of some.

        Args:
            paths: Path of every image, in the order of the data set.
            root: Folder of the data, so that they may move together.
        """
        prefix = os.path.join(Path(root), '')
        return cls.of_files(
            [path.removeprefix(prefix).replace(os.sep, '/') for path in paths],
            paths,
        )

    @classmethod
    def of_files(cls, names: Sequence[str], paths: Sequence[str]) -> Manifest:
        """Describe images by their files, under names of their own.

        Args:
            names: Name of every image.
            paths: Path of every image, in the same order.
        """
        count = len(paths)
        marked = np.ones(count, dtype=bool)
        if count > _MARKED_ALL:
            hashes = [zlib.crc32(os.fsencode(name)) for name in names]
            marked[np.argsort(hashes, kind='stable')[_MARKED_SOME:]] = False
        sizes = np.full(count, -1, dtype=np.int64)
        marks = np.zeros(count, dtype=np.uint64)

        def look(start: int) -> None:
            for place in range(start, min(start + _CHUNK, count)):
                # A file that is gone shows in the sizes.
                with suppress(OSError):
                    if marked[place]:
                        sizes[place], marks[place] = _marked(paths[place])
                    else:
                        sizes[place] = os.stat(paths[place]).st_size

        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(look, range(0, count, _CHUNK)):
                pass
        return cls(tuple(names), sizes, marks)

    def __len__(self) -> int:
        return len(self.names)

    def digest(self) -> bytes:
        """Return 128 bits that tell lists of images apart, and their order."""
        content = hashlib.blake2b(_joined(self.names), digest_size=16)
        content.update(self.sizes.tobytes())
        content.update(self.marks.tobytes())
        return content.digest()

    def compare(self, now: Manifest) -> Changes:
        """Say what has become of these images.

        An image is the same where name, size and mark are, as far as they are
        known; renamed where its content is under a new name, and no other
        image has that content. What is left of the same name has changed.

        Args:
            now: The images at hand.

        Returns:
            Where every image at hand was before, and what is new, gone,
            changed and renamed; see :class:`Changes`.
        """
        return compare(
            (self.names, self.sizes, self.marks),
            (now.names, now.sizes, now.marks),
        )

    def state_dict(self) -> dict[str, Any]:
        """Tensors of compressed bytes; loads with ``weights_only=True``.

        Some 10 bytes for every image.
        """
        return dict(
            names=_packed(_joined(self.names)),
            sizes=_packed(self.sizes.astype('<i8').tobytes()),
            marks=_packed(self.marks.astype('<u8').tobytes()),
        )

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Manifest:
        """The manifest that ``state_dict`` described.

        Raises:
            ValueError: if it is not of that kind.
        """
        try:
            joined = _unpacked(state['names'])
            sizes = np.frombuffer(_unpacked(state['sizes']), '<i8')
            marks = np.frombuffer(_unpacked(state['marks']), '<u8')
        except (KeyError, TypeError, AttributeError, zlib.error) as error:
            raise ValueError(
                'expected a list of images as names, sizes and marks, got '
                f'another kind ({type(error).__name__}: {error})'
            ) from error
        names = tuple(map(os.fsdecode, joined.split(b'\0')[:-1]))
        if not len(names) == len(sizes) == len(marks):
            raise ValueError(
                f'expected as many sizes and marks as the {len(names)} names '
                f'of images, got {len(sizes)} and {len(marks)}'
            )
        return cls(names, sizes.astype(np.int64), marks.astype(np.uint64))


def manifest_of(dataset: Any) -> Manifest | None:
    """Describe the images of any data set.

    Args:
        dataset: One of this package, which says itself; or one whose
            ``get_data_info`` gives an ``img_path``, as mmengine's do.

    Returns:
        Its manifest; None if the set does not name its images.
    """
    if hasattr(dataset, 'manifest'):
        found: Manifest = dataset.manifest()
        return found
    if not hasattr(dataset, 'get_data_info'):
        return None
    paths = []
    for index in range(len(dataset)):
        path = dataset.get_data_info(index).get('img_path')
        if path is None:
            return None
        paths.append(str(path))
    return Manifest.of(paths, getattr(dataset, 'data_root', None) or '')


def content_mark(content: bytes | memoryview) -> int:
    """Return 64 bits, not 0, that tell a content from others."""
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, 'little') or 1


def _marked(path: str) -> tuple[int, int]:
    """Return the bytes of a file, and the mark of what is in it."""
    status = os.stat(path)
    size = status.st_size
    key = hash((path, size, status.st_mtime_ns))
    if key not in _known:
        with open(path, 'rb', buffering=0) as file:
            if size <= 3 * _BLOCK:
                content = file.read()
            else:
                content = b''
                for start in (0, (size - _BLOCK) // 2, size - _BLOCK):
                    file.seek(start)
                    content += file.read(_BLOCK)
        _known[key] = content_mark(content)
    return size, _known[key]


def _joined(names: Sequence[str]) -> bytes:
    return b''.join(os.fsencode(name) + b'\0' for name in names)


def _packed(content: bytes) -> Tensor:
    compressed = bytearray(zlib.compress(content, 1))
    return torch.frombuffer(compressed, dtype=torch.uint8)


def _unpacked(packed: Tensor) -> bytes:
    return zlib.decompress(packed.cpu().numpy().tobytes())
