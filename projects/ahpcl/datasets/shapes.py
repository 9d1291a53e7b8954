"""Rendered images with a known hierarchy, to test levels against."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from mmengine.registry import DATASETS

from .memory import ImageStore, InMemoryDataset
from .shapes_render import FAMILIES, MARKS, render

_SPLITS = ('train', 'val', 'test')


@DATASETS.register_module()
class HierarchicalShapes(InMemoryDataset):
    """Rendered shapes with three nested levels of classes.

    ========  ==========================================  =================
    level     is                                          default
    ========  ==========================================  =================
    coarse    the family of the outline                   4: round, polygon,
                                                          star, stroke
    middle    the shape                                   12: disc, ellipse,
                                                          half, triangle, ...
    fine      the shape with its mark                     36: plain, dot,
                                                          slot on each
    ========  ==========================================  =================

    Colour, rotation, place, size, shading, clutter and noise are nuisance:
    they are random and tell nothing about any level.

    Image i of a split depends on (seed, split, i, branching, img_size,
    nuisance) only, not on ``num_images``: a larger set begins with the
    smaller one. Classes take turns, so that their sizes differ by one at
    most. Splits never share an image. Images are drawn once per process (some
    3,000 a second at 32 px on one core) and held in memory once for all
    workers.

    Args:
        num_images: Any number from 1.
        seed: Seed, at least 0.
        img_size: Side in px, at least 16; marks are hard to see below 24.
        split: 'train', 'val' or 'test': separate images of the same classes.
        branching: Families (1 to 4), shapes per family (1 to 4), marks per
            shape (1 to 4).
        nuisance: Strength from 0 (only colours vary) to 1.
        **kwargs: See :class:`ahpcl.datasets.base.ImageListDataset`.

    Raises:
        ValueError: if an option is out of range.
    """

    def __init__(
        self,
        num_images: int = 6000,
        *,
        seed: int = 0,
        img_size: int = 32,
        split: Literal['train', 'val', 'test'] = 'train',
        branching: Sequence[int] = (4, 3, 3),
        nuisance: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if num_images < 1:
            raise ValueError(
                f'expected num_images of at least 1, got {num_images}'
            )
        if seed < 0:
            raise ValueError(f'expected seed of at least 0, got {seed}')
        if img_size < 16:
            raise ValueError(
                f'expected img_size of at least 16 px, got {img_size}'
            )
        if split not in _SPLITS:
            raise ValueError(
                f'expected split to be one of {", ".join(_SPLITS)}, got '
                f'{split!r}'
            )
        if len(branching) != 3 or not all(1 <= b <= 4 for b in branching):
            raise ValueError(
                'expected branching of three numbers from 1 to 4, got '
                f'{branching!r}'
            )
        if not 0.0 <= nuisance <= 1.0:
            raise ValueError(f'expected nuisance from 0 to 1, got {nuisance}')
        self.num_images = num_images
        self.seed = seed
        self.img_size = img_size
        self.split = split
        self.branching = tuple(branching)
        self.nuisance = nuisance
        super().__init__(**kwargs)

    def describe(self) -> str:
        """Name the dataset, its size and split."""
        return f'HierarchicalShapes({self.num_images}, split={self.split!r})'

    def load_data_list(self) -> list[dict]:
        """Draw the images.

        Returns:
            Entries with ``gt_label`` (fine) and ``gt_levels`` (coarse, middle,
            fine), and ``img`` on access.
        """
        _, shapes, marks = self.branching
        names = _class_names(self.branching)
        self._metainfo.setdefault('classes', names[2])
        self._metainfo.setdefault('level_classes', names)
        self.store = _draw(
            self.num_images,
            self.seed,
            self.img_size,
            _SPLITS.index(self.split),
            self.branching,
            float(self.nuisance),
        )
        entries = []
        for place in range(self.num_images):
            fine = place % len(names[2])
            levels = (fine // (shapes * marks), fine // marks, fine)
            entries.append(
                {
                    'img_path': f'shapes/{self.split}/{self.seed}/{place:06d}',
                    'gt_label': fine,
                    'gt_levels': levels,
                    'store_index': place,
                }
            )
        return entries

    @property
    def truth(self) -> np.ndarray:
        """Classes of every image, int64 (N, 3): coarse, middle, fine.

        In the order of the dataset, after any ``limit`` or ``indices``.
        """
        return np.array(
            [self.get_data_info(i)['gt_levels'] for i in range(len(self))],
            dtype=np.int64,
        )


def _class_names(branching: tuple[int, ...]) -> tuple[tuple[str, ...], ...]:
    """Return names of the classes of the three levels, coarse first."""
    families, shapes, marks = branching
    coarse = tuple(FAMILIES)[:families]
    middle = tuple(f'{c}/{s}' for c in coarse for s in FAMILIES[c][:shapes])
    fine = tuple(f'{m}/{mark}' for m in middle for mark in MARKS[:marks])
    return coarse, middle, fine


@lru_cache(maxsize=4)
def _draw(
    num_images: int,
    seed: int,
    img_size: int,
    split: int,
    branching: tuple[int, ...],
    nuisance: float,
) -> ImageStore:
    """Return all images of a dataset; loaders of the same one share them."""
    classes = [name.split('/') for name in _class_names(branching)[2]]
    images = np.empty((num_images, img_size, img_size, 3), dtype=np.uint8)
    for place in range(num_images):
        family, shape, mark = classes[place % len(classes)]
        rng = np.random.default_rng((seed, split, place))
        images[place] = render(family, shape, mark, img_size, nuisance, rng)
    return ImageStore([images])
