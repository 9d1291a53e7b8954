"""Images that live in memory, held once however many workers read them."""

import bisect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .base import ImageListDataset
from .manifest import Manifest, content_mark
from .whole_batch import pad_images


class ImageStore:
    """Blocks of equally sized RGB images that nobody changes.

    Forked workers share the memory of the parent; for spawned ones torch
    moves it to shared memory when the dataset is sent. A deep copy of a
    dataset keeps the same store.

    Args:
        blocks: uint8 arrays (n, H, W, 3), channels R, G, B.

    Raises:
        ValueError: if a block is not of that kind.
    """

    def __init__(self, blocks: Sequence[np.ndarray]) -> None:
        for block in blocks:
            if (
                block.ndim != 4
                or block.shape[-1] != 3
                or block.dtype != np.uint8
            ):
                raise ValueError(
                    'expected images as uint8 (n, height, width, 3), got '
                    f'{block.dtype} {block.shape}'
                )
        self._blocks = [
            torch.from_numpy(_writeable(block)) for block in blocks
        ]
        self._starts = np.cumsum([0] + [len(b) for b in blocks]).tolist()

    def __len__(self) -> int:
        return self._starts[-1]

    def __deepcopy__(self, memo: dict[int, Any]) -> 'ImageStore':
        return self

    def bgr(self, index: int) -> np.ndarray:
        """Return a private copy of one image, uint8 (H, W, 3), B, G, R."""
        return np.ascontiguousarray(self._image(index).numpy()[:, :, ::-1])

    def mark(self, index: int) -> tuple[int, int]:
        """Return the bytes of one image, and what tells its pixels apart."""
        pixels = self._image(index).numpy()
        return pixels.nbytes, content_mark(pixels.data)

    def block(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Return several images at once.

        Args:
            indices: n places in the store.

        Returns:
            uint8 (n, 3, H, W), channels B, G, R; and, where sizes differ,
            the images' heights and widths (n, 2) int64, beyond which there
            are zeros at the right and at the bottom, else None.
        """
        if len(self._blocks) == 1:
            chosen = self._blocks[0][torch.as_tensor(indices)]
            return chosen.permute(0, 3, 1, 2)[:, [2, 1, 0]].contiguous(), None
        images = [self._image(index).permute(2, 0, 1) for index in indices]
        block, sizes = pad_images(images)
        return block[:, [2, 1, 0]], sizes

    def _image(self, index: int) -> Tensor:
        """Return one image as it lies there, uint8 (H, W, 3), R, G, B."""
        which = bisect.bisect_right(self._starts, index) - 1
        return self._blocks[which][index - self._starts[which]]


class InMemoryDataset(ImageListDataset):
    """A dataset that may hold its images itself.

    A subclass sets ``self.store`` in ``load_data_list`` and gives entries a
    ``store_index``. Such an entry gets ``img`` (uint8, BGR, a private copy)
    on access, and its ``img_path`` is a name, not a file: nothing is scanned.
    """

    store: ImageStore | None = None

    def get_data_info(self, idx: int) -> dict:
        """Return an entry with ``sample_idx``, and ``img`` if in memory."""
        info = super().get_data_info(idx)
        place = info.pop('store_index', None)
        if place is not None:
            assert self.store is not None
            info['img'] = self.store.bgr(place)
        return info

    def manifest(self) -> Manifest:
        """Say which images these are; those in memory by their pixels."""
        if self.store is None:
            return super().manifest()
        seen = [self.store.mark(place) for place in self._places()]
        sizes, marks = zip(*seen, strict=True)
        return Manifest(
            tuple(self._paths()),
            np.array(sizes, dtype=np.int64),
            np.array(marks, dtype=np.uint64),
        )

    def _paths(self) -> list[str]:
        return [self._entry(i)['img_path'] for i in range(len(self))]

    def _places(self) -> list[int]:
        return [self._entry(i)['store_index'] for i in range(len(self))]

    def _entry(self, index: int) -> dict:
        """Return an entry as it is in the list, without a picture."""
        return super().get_data_info(index)

    def _pictures(self) -> tuple[ImageStore, np.ndarray] | None:
        if self.store is None:
            return super()._pictures()
        return self.store, np.array(self._places())

    def _scanned(self, entries: list[dict]) -> list[dict]:
        return entries if self.store is not None else super()._scanned(entries)


def _writeable(block: np.ndarray) -> np.ndarray:
    """Return a contiguous block that torch takes without a warning."""
    block = np.ascontiguousarray(block)
    return block if block.flags.writeable else block.copy()
