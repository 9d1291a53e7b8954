"""Handwritten digits that come with scikit-learn: nothing to download."""

from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from mmengine.registry import DATASETS
from PIL import Image

from .memory import ImageStore, InMemoryDataset

_TEST_EVERY = 5
_VAL_EVERY = 5
_SPLITS = ('train', 'fit', 'val', 'test', 'all')


@DATASETS.register_module()
class Digits(InMemoryDataset):
    """The 1,797 digits of ``sklearn.datasets.load_digits``.

    8 x 8 pixels with values 0 to 16, here uint8 (``round(v * 255 / 16)``) in
    three equal channels, enlarged once to ``img_size`` (bicubic).

    The split is fixed and keeps the shares of the classes: of each digit, in
    scikit-learn's order, every fifth image is for testing (355 images), the
    others for training (1,442). Of the training images of each digit every
    fifth is for validation ('val', 285 images), the others ('fit', 1,157) are
    for runs whose settings are chosen on 'val'.

    Args:
        split: 'train', 'fit' or 'val' (its two parts), 'test' or 'all'.
        img_size: Side in px, at least 8.
        **kwargs: See :class:`ahpcl.datasets.base.ImageListDataset`.

    Raises:
        ValueError: if the split is unknown or the size is below 8.
    """

    METAINFO: ClassVar[dict] = {
        'classes': tuple(str(digit) for digit in range(10))
    }

    def __init__(
        self,
        *,
        split: Literal['train', 'fit', 'val', 'test', 'all'] = 'train',
        img_size: int = 32,
        **kwargs: Any,
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(
                f'expected split to be one of {", ".join(_SPLITS)}, got '
                f'{split!r}'
            )
        if img_size < 8:
            raise ValueError(
                f'expected img_size of at least 8 px, got {img_size}'
            )
        self.split = split
        self.img_size = img_size
        super().__init__(**kwargs)

    def describe(self) -> str:
        """Name the dataset and its split."""
        return f'Digits(split={self.split!r})'

    def load_data_list(self) -> list[dict]:
        """Return entries with ``gt_label``, and ``img`` on access."""
        store, labels = _load(self.img_size)
        self.store = store
        rank: dict[int, int] = {}
        entries = []
        for place, label in enumerate(labels.tolist()):
            number = rank.get(label, 0)
            rank[label] = number + 1
            if _is_in(self.split, number):
                entries.append(
                    {
                        'img_path': f'digits/{place:04d}',
                        'gt_label': label,
                        'store_index': place,
                    }
                )
        return entries


def _is_in(split: str, number: int) -> bool:
    """Tell whether a split has the image with this number within its digit."""
    if split == 'all':
        return True
    test = number % _TEST_EVERY == _TEST_EVERY - 1
    if split == 'test' or test:
        return (split == 'test') == test
    if split == 'train':
        return True
    place = number - number // _TEST_EVERY  # among the training images
    return (split == 'val') == (place % _VAL_EVERY == _VAL_EVERY - 1)


@lru_cache(maxsize=4)
def _load(img_size: int) -> tuple[ImageStore, np.ndarray]:
    """Return all images at a size, once per process, and their labels (N,)."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    gray = np.rint(raw.images * (255.0 / 16.0)).astype(np.uint8)
    if img_size != gray.shape[1]:
        size = (img_size, img_size)
        gray = np.stack(
            [
                np.asarray(
                    Image.fromarray(image).resize(
                        size, Image.Resampling.BICUBIC
                    )
                )
                for image in gray
            ]
        )
    return ImageStore([np.repeat(gray[..., None], 3, axis=3)]), raw.target
