"""A data set that may have its images decoded, on disk or in memory."""

import gc
import logging
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from torch import Tensor

from ahpcl.utils.said import log_once

from .decode import WHITE, read_image, stored
from .decoded_cache import DecodedCache
from .decoded_cache_auto import open_automatic
from .decoded_cache_build import reduced
from .decoded_cache_open import open_or_build
from .decoded_index import name_hashes
from .pixel_format import USUAL, PixelFormat
from .transforms.band_wise import fit_pipeline
from .whole_batch import fetch


class Pictures(Protocol):
    """Decoded images, on disk or in memory."""

    def block(self, places: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Returns some images, as ``DecodedDataset.image_block`` does."""


class DecodedDataset(BaseDataset):
    """Opens or builds a decoded cache, and fetches whole batches.

    Args:
        decoded_cache: See :class:`ahpcl.datasets.base.ImageListDataset`.
        decoded_max_side: See that class, too.
        **kwargs: Arguments of mmengine's data set.

    Attributes:
        decoded: The cache that is in use, or None.
        pixels: How files become 8 bits. Its ``as_dict`` are plain numbers.
    """

    pixels: PixelFormat = USUAL

    def __init__(
        self,
        *,
        decoded_cache: str | None = None,
        decoded_max_side: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.decoded_cache = decoded_cache
        self.decoded_max_side = decoded_max_side
        self.decoded: DecodedCache | None = None
        self._found: tuple[Pictures, np.ndarray] | None = None
        super().__init__(**kwargs)

    def describe(self) -> str:
        """Name the data set, for messages."""
        return type(self).__name__

    def full_init(self) -> None:
        """Load the list, and open or build the decoded cache."""
        if self._fully_initialized:
            return
        super().full_init()
        try:
            fit_pipeline(self.pipeline, self.pixels)
            self._open_cache()
        except Exception:
            self._fully_initialized = False
            raise

    def _serialize_data(self) -> tuple[np.ndarray, np.ndarray]:
        # mmengine collects garbage here: of the list, not of all modules,
        # which takes a quarter of a second for every data set.
        if gc.get_freeze_count():
            return super()._serialize_data()
        gc.freeze()
        try:
            return super()._serialize_data()
        finally:
            gc.unfreeze()

    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep a part of the images, see mmengine."""
        super().get_subset_(indices)
        self._found = None

    def get_subset(self, indices: int | Sequence[int]) -> 'DecodedDataset':
        """Return a part of the images as a data set, see mmengine."""
        subset = super().get_subset(indices)
        subset._found = None
        return subset

    def prepare_data(self, idx: int) -> Any:
        """Run an entry through the pipeline, its pixels from the cache."""
        info = self.get_data_info(idx)
        if self.decoded is None:
            return self.prepare_file(info)
        _, places = self._at_hand()
        info['img'] = self.decoded.bgr(places[info['sample_idx']])
        return self.pipeline(info)

    def prepare_file(self, info: dict) -> Any:
        """Run an entry, also of a file that is not in the list.

        Its pixels are those that a cache would hold.

        Args:
            info: With ``img_path`` and ``sample_idx``.
        """
        if self.decoded_max_side is not None and not self._in_memory():
            image = read_image(info['img_path'], self.pixels)
            info['img'] = stored(reduced(image, self.decoded_max_side))
        return self.pipeline(info)

    def image_block(
        self, indices: Sequence[int]
    ) -> tuple[Tensor, Tensor | None] | None:
        """Return images as they are stored, at once.

        Args:
            indices: Indices of n images.

        Returns:
            uint8 (n, C, H, W), channels B, G, R where there are three, else
            the bands as in the files; and, where sizes differ, the
            images' heights and widths (n, 2) int64, beyond which there are
            zeros at the right and at the bottom, else None. None alone where
            the images are neither in memory nor in a decoded cache.
        """
        if not self._fully_initialized:
            self.full_init()
        found = self._at_hand()
        if found is None:
            return None
        pictures, places = found
        return pictures.block(places[np.asarray(indices)])

    def __getitems__(self, indices: Sequence[int]) -> Sequence[Any]:
        """Return the items of a batch, for which a loader asks at once.

        See :func:`ahpcl.datasets.whole_batch.fetch`.
        """
        return fetch(self, indices)

    def _open_cache(self) -> None:
        if self._in_memory():
            if self.decoded_cache not in (None, 'auto'):
                print_log(
                    f'{self.describe()} has its images in memory: '
                    'decoded_cache is not used',
                    logger='current',
                    level=logging.WARNING,
                )
            return
        if self.decoded_cache is None and self.decoded_max_side is None:
            return
        for transform in self.pipeline.transforms:
            background = getattr(transform, 'background', WHITE)
            if background != WHITE:
                raise ValueError(
                    'expected a white background in LoadImageBGR with '
                    'decoded_cache or decoded_max_side, got '
                    f'{background}: both have transparent images over white; '
                    'leave one of them out'
                )
        self._mention_reduction()
        if self.decoded_cache is None:
            return
        options: dict[str, Any] = dict(
            root=self.data_root,
            max_side=self.decoded_max_side,
            pixels=self.pixels,
        )
        if self.decoded_cache == 'auto':
            found = open_automatic(self._paths(), **options)
        else:
            found = open_or_build(self.decoded_cache, self._paths(), **options)
        if found is not None:
            self.decoded, self._found = found[0], found

    def _mention_reduction(self) -> None:
        if self.decoded_max_side is not None:
            log_once(
                f'{self.data_root}: photographs with a longer side than '
                f'{self.decoded_max_side} px are reduced to it '
                f'(decoded_max_side=None keeps every pixel)'
            )

    def _in_memory(self) -> bool:
        return getattr(self, 'store', None) is not None

    def _paths(self) -> list[str]:
        return [self.get_data_info(i)['img_path'] for i in range(len(self))]

    def _at_hand(self) -> tuple[Pictures, np.ndarray] | None:
        """Return where decoded images are, and which of them are ours."""
        # A cache that a worker could not open again is None.
        if self._found is None or self._found[0] is None:
            self._found = self._pictures()
        return self._found

    def _pictures(self) -> tuple[Pictures, np.ndarray] | None:
        if self.decoded is None:
            return None
        names = name_hashes(self._paths(), self.data_root)
        return self.decoded, self.decoded.index.places(names)
