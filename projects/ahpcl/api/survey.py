"""A look at a folder of images before anything is decided about it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ahpcl.datasets.class_folders import class_names
from ahpcl.datasets.folder import LEAST_IMAGES, UnlabelledFolder
from ahpcl.datasets.raw_pixels import inspect
from ahpcl.datasets.roots import Roots, image_names, roots_of
from ahpcl.datasets.scan import scan_files

# Headers that are read, spread evenly over the list.
_SAMPLE = 256
_FOLDERS = 'folders'
# Folders of these names are parts of a data set, not classes.
_SPLITS = {'train', 'training', 'val', 'valid', 'validation', 'test', 'images'}


@dataclass(frozen=True)
class Survey:
    """What is known of the images of a folder.

    Attributes:
        folder: The folder, or several.
        count: Number of images.
        endings: Number of images by ending, as text.
        short: Median of the shorter side, px.
        long: Median of the longer side, px.
        sizes: The sizes as text, such as ``64 x 64 px``.
        labels: Where classes are from: ``'folders'``, the path of a CSV
            file, or None.
        classes: Number of classes; 0 without labels.
        labelled: Number of images with a class.
    """

    folder: str | list[str]
    count: int
    endings: str
    short: int
    long: int
    sizes: str
    labels: str | None
    classes: int
    labelled: int

    @property
    def label_options(self) -> dict[str, object]:
        """Arguments of ``UnlabelledFolder`` that give these labels."""
        if self.labels == _FOLDERS:
            return dict(labels_from_folders=True)
        return {} if self.labels is None else dict(labels=self.labels)


def survey(folder: Roots, labels: str | None = 'auto') -> Survey:
    """Look at a folder: how many images, how large, which classes.

    Args:
        folder: The folder of images, a text file that lists their paths, or
            several of both.
        labels: ``'auto'``: class folders, or a list of classes that is known
            (:func:`ahpcl.datasets.class_folders.class_names`), where every
            image has one of two classes or more, else a CSV file in the
            folder, where there is one, if it is one folder; ``'folders'``;
            the path of a CSV file; None for no labels.

    Raises:
        ValueError: If there are too few images, or no such labels.

    Example:
        ``survey('photos').sizes`` is ``'64 x 64 px'``.
    """
    roots = [
        os.path.abspath(os.path.expanduser(one)) for one in roots_of(folder)
    ]
    root = roots[0] if len(roots) == 1 else roots
    where = ', '.join(roots)
    entries = _entries(root)
    if len(entries) < LEAST_IMAGES:
        count = len(entries)
        images = '1 image' if count == 1 else f'{count} images'
        raise ValueError(
            f'expected at least {LEAST_IMAGES} images to train on, got '
            f'{images} in {where}: images are told apart from one another; '
            'add images, or name the folder above'
        )
    paths = [entry['img_path'] for entry in entries]
    names = image_names(paths, root)
    found = _sizes(paths)
    if found is None:
        count = min(_SAMPLE, len(paths))
        problems, _ = scan_files(paths[:count], 'header')
        why = f': {problems[0].reason}' if problems else ''
        raise ValueError(
            f'expected images that can be opened, got none of {count} that '
            f'were tried, such as {paths[0]}{why}'
        )
    short, long, sizes = found
    if labels == 'auto':
        labels = _found_labels(root, names) if root == where else None
    elif labels not in (None, _FOLDERS):
        labels = os.path.abspath(os.path.expanduser(labels))
    classes, labelled = 0, 0
    if labels is not None:
        options = {'labels': labels}
        if labels == _FOLDERS:
            options = {'labels_from_folders': True}
        try:
            entries_of = _entries(root, **options)
        except ValueError as error:
            raise ValueError(
                f'{error}; or, with labels={labels!r} as given, labels=None '
                'goes without'
            ) from error
        given = [entry.get('gt_label') for entry in entries_of]
        known = Counter(label for label in given if label is not None)
        classes, labelled = len(known), known.total()
        if classes < 2:
            raise ValueError(
                f'expected two classes or more, got {classes} by labels='
                f'{labels!r} in {where}; labels=None goes without'
            )
    endings = Counter(Path(name).suffix.lower() or 'none' for name in names)
    return Survey(
        folder=root,
        count=len(entries),
        endings=', '.join(f'{n:,} {e}' for e, n in endings.most_common(4)),
        short=short,
        long=long,
        sizes=sizes,
        labels=labels,
        classes=classes,
        labelled=labelled,
    )


def sizes_of(dataset: Any) -> str | None:
    """Return the sizes of the images of a data set as text.

    Returns:
        None if its images are no files.
    """
    count = min(_SAMPLE // 4, len(dataset))
    if not hasattr(dataset, 'get_data_info'):
        return None
    places = [place * len(dataset) // count for place in range(count)]
    paths = [dataset.get_data_info(place).get('img_path') for place in places]
    if any(path is None for path in paths):
        return None
    found = _sizes(paths)
    return None if found is None else found[2]


def _entries(root: str | list[str], **options: object) -> list[dict]:
    """List the images without opening them."""
    return UnlabelledFolder(root, lazy_init=True, **options).load_data_list()


def _found_labels(root: str, names: Sequence[str]) -> str | None:
    """Return where classes are from; None if nowhere."""
    tops = {name.partition('/')[0].lower() for name in names if '/' in name}
    try:
        found, _, _ = class_names(Path(root), names)
    except (ValueError, OSError):
        found = []
    counts = Counter(found)
    # One image of a class has nobody to vote for it.
    several = len(counts) > 1 and min(counts.values()) > 1
    if several and (len(tops) < 2 or not tops <= _SPLITS):
        return _FOLDERS
    tables = sorted(Path(root).glob('*.csv'))
    if len(tables) != 1:
        return None
    try:
        given = _entries(root, labels=str(tables[0]))
    except ValueError:
        return None  # a table of something else
    known = {entry.get('gt_label') for entry in given} - {None}
    return str(tables[0]) if len(known) > 1 else None


def _sizes(paths: Sequence[str]) -> tuple[int, int, str] | None:
    """Return medians of shorter and longer sides, px, and a text.

    Returns:
        None if none of the files can be opened.
    """
    count = min(_SAMPLE, len(paths))
    found = []
    for place in range(count):
        try:
            with open(paths[place * len(paths) // count], 'rb') as file:
                found.append(inspect(file, full=False)[0].size)
        except Exception:
            continue
    if not found:
        return None
    short = round(median(min(size) for size in found))
    long = round(median(max(size) for size in found))
    kinds = set(found)
    if len(kinds) == 1:
        width, height = kinds.pop()
        return short, long, f'{width} x {height} px'
    smallest = min(min(size) for size in found)
    largest = max(max(size) for size in found)
    return short, long, f'{smallest} to {largest} px a side, mostly {short}'
