"""The layouts in which few-shot data sets are found on disks."""

import re
from dataclasses import dataclass
from pathlib import Path

SPLITS = ('train', 'val', 'test')
CACHES = {
    split: (
        f'mini-imagenet-cache-{split}.pkl',
        'miniImageNet_category_split_'
        f'{"train_phase_train" if split == "train" else split}.pickle',
        f'mini_imagenet_{split}.pickle',
        f'CIFAR_FS_{split}.pickle',
        f'cifar_fs_{split}.pickle',
        f'FC100_{split}.pickle',
        f'{split}_images.npz',  # beside <split>_labels.pkl
        f'{split}_images_png.pkl',  # the same images, before they are unpacked
        f'{split}.pkl',
    )
    for split in SPLITS
}


@dataclass(frozen=True)
class Item:
    """One image of a split.

    Attributes:
        name: File name, or the place in a cache; images of a class are
            ordered by it, numbers by value.
        label: Name of the class.
        path: The file, or the name of a cache and the place in it.
        index: Place in the cache's array, None for a file.
    """

    name: str
    label: str
    path: str
    index: int | None = None

    @property
    def order(self) -> tuple[tuple[int, int, str], ...]:
        """Sort key of the name, with numbers by value."""
        return natural_key(self.name)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key of a name that compares numbers in it by value."""
    return tuple(
        (1, int(part), '') if part.isdecimal() else (0, 0, part)
        for part in re.split(r'(\d+)', name)
        if part
    )


def find_layout(root: Path) -> str:
    """Tell which layout a folder holds.

    Args:
        root: The dataset's folder.

    Returns:
        'csv', 'folders', 'pickle' or 'class_lists'.

    Raises:
        ValueError: if the folder is missing or holds none of them.
    """
    if not root.is_dir():
        raise ValueError(
            f'expected a folder with mini-ImageNet, got {root}, which does '
            'not exist; set data_root, or make it with '
            'tools/dataset_converters/mini_imagenet.py'
        )
    if any((root / f'{split}.csv').is_file() for split in SPLITS):
        return 'csv'
    if any((root / split).is_dir() for split in SPLITS):
        return 'folders'
    if any(cache_file(root, split) for split in SPLITS):
        return 'pickle'
    if class_list_root(root) is not None:
        return 'class_lists'
    found = sorted(entry.name for entry in root.iterdir())[:10]
    raise ValueError(
        f'expected mini-ImageNet in {root}: train.csv, val.csv, test.csv '
        'beside images/, or folders train/<class>/, or data/<class>/ with '
        'splits/<name>/train.txt, or a cache, one of '
        f'{", ".join(CACHES["train"])}; found {found or "an empty folder"}'
    )


def cache_file(root: Path, split: str) -> Path | None:
    """Return the cache of a split, None if there is none.

    Raises:
        ValueError: If there are caches of several data sets.
    """
    found = [root / n for n in CACHES[split] if (root / n).is_file()]
    same = {f'{split}_images.npz', f'{split}_images_png.pkl'}
    if len(found) > 1 and not {path.name for path in found} <= same:
        raise ValueError(
            f'expected one cache of {split} in {root}, got '
            f'{", ".join(path.name for path in found)}; move each data set '
            'into a folder of its own'
        )
    return found[0] if found else None


def class_list_root(root: Path) -> Path | None:
    """Return the folder with ``data/<class>/`` and ``splits/``, if any.

    CIFAR-FS comes so, as ``cifar100/data`` and ``cifar100/splits``.
    """
    for base in (root, root / 'cifar100'):
        if (base / 'data').is_dir() and any(base.glob('splits/*/*.txt')):
            return base
    return None
