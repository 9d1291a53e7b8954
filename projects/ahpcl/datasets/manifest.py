"""Which images a data set has: what results about them belong to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# The contents of so many files, spread evenly, are looked at, and so many
# bytes of each: enough to tell folders apart that number their images alike.
_SAMPLES = 16
_SAMPLE_BYTES = 2**16


@dataclass(frozen=True, eq=False)
class Manifest:
    """The images of a data set by name, in its order.

    Attributes:
        names: Path of every image below the folder of the data, with '/'
            between its parts; the whole path of an image outside of it. N of
            them.
        sizes: Bytes of every file, (N,) int64; -1 where there is no file.
        sample: Digest of the first bytes of some of the files, 16 bytes.

    Example:
        >>> Manifest.of(['photos/a.jpg', 'photos/new/b.jpg'], 'photos').names
        ('a.jpg', 'new/b.jpg')
    """

    names: tuple[str, ...]
    sizes: np.ndarray
    sample: bytes

    @classmethod
    def of(
        cls, paths: Sequence[str], root: str | os.PathLike[str] = ''
    ) -> Manifest:
        """Describe images by the paths of their files.

        Args:
            paths: Path of every image, in the order of the data set.
            root: Folder of the data, so that they may move together.
        """
        prefix = os.path.join(Path(root), '')
        names = tuple(
            path.removeprefix(prefix).replace(os.sep, '/') for path in paths
        )
        sizes = np.array([_size(path) for path in paths], dtype=np.int64)
        content = hashlib.blake2b(digest_size=16)
        count = min(len(paths), _SAMPLES)
        for place in range(count):
            # A file that is gone shows in the sizes.
            with suppress(OSError):
                path = paths[place * len(paths) // count]
                with open(path, 'rb') as file:
                    content.update(file.read(_SAMPLE_BYTES))
        return cls(names, sizes, content.digest())

    def __len__(self) -> int:
        return len(self.names)

    def digest(self) -> bytes:
        """Return 128 bits that tell lists of images apart, and their order."""
        content = hashlib.blake2b(self.sample, digest_size=16)
        for name in self.names:
            content.update(os.fsencode(name) + b'\0')
        content.update(self.sizes.tobytes())
        return content.digest()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
