"""mini-ImageNet, and whatever comes in its format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mmengine.registry import DATASETS

from .memory import ImageStore, InMemoryDataset
from .mini_imagenet_cache import read_cache_split
from .mini_imagenet_files import (
    read_class_list_split,
    read_csv_split,
    read_folder_split,
)
from .mini_imagenet_layout import SPLITS, Item, find_layout

_PARTS = (*SPLITS, 'all')


@DATASETS.register_module()
class MiniImageNet(InMemoryDataset):
    """mini-ImageNet (Vinyals et al., 2016) in any of its usual layouts.

    - ``train.csv``, ``val.csv``, ``test.csv`` (header ``filename,label``; the
      split of Ravi & Larochelle, 2017) beside ``images/``;
    - ``train/<class>/*.jpg``, ``val/...``, ``test/...``;
    - ``data/<class>/*.png`` with lists of classes in
      ``splits/<name>/{train,val,test}.txt`` (CIFAR-FS);
    - caches: ``mini-imagenet-cache-{train,val,test}.pkl``,
      ``miniImageNet_category_split_*.pickle``, ``CIFAR_FS_*.pickle``,
      ``FC100_*.pickle``, and tieredImageNet's ``{train,val,test}_images.npz``
      or ``*_images_png.pkl`` with ``*_labels.pkl``. They are read without
      running anything that they carry, and held in memory once for all
      workers; an ``.npz`` that is not packed stays on the disk.

    Two protocols:

    - ``protocol='class'`` (few-shot): ``split`` names lists of classes that
      do not overlap, 64 / 16 / 20, or several of them, or 'all'.
      ``image_part`` takes a part of the images of every class.
    - ``protocol='image'`` (kNN, linear, clustering): all 100 classes;
      ``split`` names the part of every class's images.

    The parts of a class, in the order of its image numbers (its file names,
    numbers by value): the first ``train_per_class`` are 'train', the last
    ``test_per_class`` are 'test', any between them 'val'. By default 500 and
    100 for classes of 600, as in mini-ImageNet, and four to one otherwise
    (200 and 50 of 250).

    Labels number the sorted names of the classes in use.

    Args:
        data_root: Folder of the dataset.
        split: 'train', 'val', 'test' or 'all'; with ``protocol='class'`` also
            a sequence of them.
        protocol: 'class' or 'image'.
        image_part: 'train', 'val', 'test' or 'all'; only with
            ``protocol='class'``, and by default 'all'.
        train_per_class: Images of each class in part 'train'.
        test_per_class: Images of each class in part 'test'.
        num_classes: Use so many of the classes, evenly from their sorted
            names; None for all.
        layout: 'csv', 'folders', 'class_lists', 'pickle' (any cache), or
            'auto' to see which is there.
        images_dir: Name of the folder of images beside the split files.
        **kwargs: See :class:`ahpcl.datasets.base.ImageListDataset`.

    Raises:
        ValueError: if an option is unknown, a file, folder or column is
            missing, images cannot be used, a class has too few, or none is
            left. The message names what was found and a remedy.
    """

    def __init__(
        self,
        data_root: str,
        *,
        split: str | Sequence[str] = 'train',
        protocol: Literal['class', 'image'] = 'class',
        image_part: str | None = None,
        train_per_class: int | None = None,
        test_per_class: int | None = None,
        num_classes: int | None = None,
        layout: Literal[
            'auto', 'csv', 'folders', 'class_lists', 'pickle'
        ] = 'auto',
        images_dir: str = 'images',
        **kwargs: Any,
    ) -> None:
        if protocol not in ('class', 'image'):
            raise ValueError(
                f"expected protocol='class' or 'image', got {protocol!r}"
            )
        known = ('auto', 'csv', 'folders', 'class_lists', 'pickle')
        if layout not in known:
            raise ValueError(
                f'expected layout to be one of {", ".join(known)}, got '
                f'{layout!r}'
            )
        splits = (split,) if isinstance(split, str) else tuple(split)
        unknown = [name for name in splits if name not in _PARTS]
        if unknown or not splits:
            raise ValueError(
                f'expected split to be of {", ".join(_PARTS)}, got {split!r}'
            )
        if protocol == 'image':
            if len(splits) != 1 or image_part is not None:
                raise ValueError(
                    "expected one split and no image_part with protocol='"
                    "image', where the split is the part of the images, got "
                    f'split={split!r}, image_part={image_part!r}'
                )
            self.splits, self.image_part = SPLITS, splits[0]
        else:
            self.splits = SPLITS if 'all' in splits else splits
            self.image_part = image_part or 'all'
        if self.image_part not in _PARTS:
            raise ValueError(
                f'expected image_part to be of {", ".join(_PARTS)}, got '
                f'{image_part!r}'
            )
        for name, count in (
            ('train_per_class', train_per_class),
            ('test_per_class', test_per_class),
            ('num_classes', num_classes),
        ):
            if count is not None and count < 1:
                raise ValueError(
                    f'expected {name} to be at least 1, got {count}'
                )
        self.protocol = protocol
        self.train_per_class = train_per_class
        self.test_per_class = test_per_class
        self.num_classes = num_classes
        self.layout = layout
        self.images_dir = images_dir
        super().__init__(data_root, **kwargs)

    def describe(self) -> str:
        """Name the dataset, its folder and the part in use."""
        return (
            f'MiniImageNet(data_root={self.data_root!r}, '
            f'protocol={self.protocol!r}, split={self.splits}, '
            f'image_part={self.image_part!r})'
        )

    def load_data_list(self) -> list[dict]:
        """Read the lists.

        Returns:
            Entries with ``img_path`` and ``gt_label``, and ``store_index``
            where the images are in memory.

        Raises:
            ValueError: see the class.
        """
        items = self._some_classes(self._read(Path(self.data_root)))
        items = self._part(items)
        classes = tuple(sorted({item.label for item in items}))
        self._metainfo.setdefault('classes', classes)
        numbers = {name: number for number, name in enumerate(classes)}
        entries = []
        for item in items:
            entry = {'img_path': item.path, 'gt_label': numbers[item.label]}
            if item.index is not None:
                entry['store_index'] = item.index
            entries.append(entry)
        return entries

    def _read(self, root: Path) -> list[Item]:
        layout = find_layout(root) if self.layout == 'auto' else self.layout
        if layout == 'csv':
            return [
                item
                for split in self.splits
                for item in read_csv_split(root, split, self.images_dir)
            ]
        if layout == 'folders':
            return [
                item
                for split in self.splits
                for item in read_folder_split(root, split)
            ]
        if layout == 'class_lists':
            return [
                item
                for split in self.splits
                for item in read_class_list_split(root, split)
            ]
        items: list[Item] = []
        blocks: list[np.ndarray] = []
        for split in self.splits:
            start = len(items)
            found, pixels = read_cache_split(root, split)
            blocks.append(pixels)
            items += [
                Item(i.name, i.label, i.path, start + (i.index or 0))
                for i in found
            ]
        self.store = ImageStore(blocks)
        return items

    def _some_classes(self, items: list[Item]) -> list[Item]:
        """Keep ``num_classes`` of the classes."""
        if self.num_classes is None:
            return items
        names = sorted({item.label for item in items})
        if self.num_classes > len(names):
            raise ValueError(
                f'expected num_classes of at most {len(names)}, as many as '
                f'{self.describe()} has, got {self.num_classes}'
            )
        kept = {
            names[place * len(names) // self.num_classes]
            for place in range(self.num_classes)
        }
        return [item for item in items if item.label in kept]

    def _part(self, items: list[Item]) -> list[Item]:
        """Keep one part of every class, in the given order."""
        if self.image_part == 'all':
            return items
        members: dict[str, list[int]] = {}
        for place, item in enumerate(items):
            members.setdefault(item.label, []).append(place)
        kept: list[int] = []
        for label, places in members.items():
            places.sort(key=lambda place: items[place].order)
            train, test = self._counts(label, len(places))
            last = len(places) - test
            cut = {
                'train': places[:train],
                'val': places[train:last],
                'test': places[last:],
            }
            kept += cut[self.image_part]
        if not kept:
            raise ValueError(
                f'expected images in part {self.image_part!r} of '
                f'{self.describe()}, got none: train_per_class and '
                'test_per_class leave nothing between them; lower one'
            )
        return [items[place] for place in sorted(kept)]

    def _counts(self, label: str, total: int) -> tuple[int, int]:
        """Return images of a class in parts 'train' and 'test'."""
        test = self.test_per_class
        train = self.train_per_class
        if test is None:
            test = 100 if total == 600 else round(total / 5)
            if train is not None:
                test = min(test, total - train)
        if train is None:
            train = total - test
        if train < 0 or test < 0 or train + test > total:
            raise ValueError(
                f'expected at most the {total} images of class {label!r}, '
                f'got train_per_class={self.train_per_class} and '
                f'test_per_class={self.test_per_class}; lower them'
            )
        return train, test
