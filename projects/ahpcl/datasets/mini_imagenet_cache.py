"""Read mini-ImageNet from the pickled caches that circulate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .mini_imagenet_layout import CACHES, Item, cache_file
from .safe_pickle import load_arrays


def read_cache_split(root: Path, split: str) -> tuple[list[Item], np.ndarray]:
    """Read a pickled cache, see :func:`read_cache`.

    Args:
        root: The dataset's folder.
        split: 'train', 'val' or 'test'.

    Returns:
        The images' entries and their pixels, uint8 (N, H, W, 3), RGB.

    Raises:
        ValueError: if there is no such file or it is not such a cache.
    """
    path = cache_file(root, split)
    if path is None:
        raise ValueError(
            f'expected a cache of {split} in {root}, got none of '
            f'{", ".join(CACHES[split])}'
        )
    return read_cache(path)


def read_cache(path: Path) -> tuple[list[Item], np.ndarray]:
    """Read one of the pickled caches that circulate, and run nothing in it.

    Two kinds: ``image_data`` (N, 84, 84, 3) with ``class_dict`` (class name
    to places), and ``data`` with ``labels`` and perhaps ``catname2label``.

    Args:
        path: The pickle.

    Returns:
        The images' entries and their pixels, uint8 (N, H, W, 3), RGB.

    Raises:
        ValueError: if the file is not such a cache, or asks to run anything.
    """
    content = load_arrays(path)
    keys = sorted(map(str, content)) if isinstance(content, dict) else []
    if 'image_data' in keys and isinstance(content.get('class_dict'), dict):
        images = content['image_data']
        pairs = [
            (int(place), str(name))
            for name, places in content['class_dict'].items()
            for place in places
        ]
    elif 'data' in keys and 'labels' in keys:
        images = content['data']
        names = {
            int(number): str(name)
            for name, number in content.get('catname2label', {}).items()
        }
        pairs = [
            (place, names.get(int(label), str(int(label))))
            for place, label in enumerate(content['labels'])
        ]
    else:
        raise ValueError(
            f'expected image_data and class_dict, or data and labels, in '
            f'{path}, got {keys or type(content).__name__}'
        )
    pixels = _pixels(images, path)
    if sorted(place for place, _ in pairs) != list(range(len(pixels))):
        raise ValueError(
            f'expected one label for each of the {len(pixels)} images in '
            f'{path}, got {len(pairs)}'
        )
    items = [
        Item(f'{place:08d}', name, f'{path}#{place}', place)
        for place, name in sorted(pairs)
    ]
    return items, pixels


def _pixels(images: Any, path: Path) -> np.ndarray:
    pixels = np.asarray(
        np.stack([np.asarray(i) for i in images])
        if isinstance(images, Sequence) and len(images)
        else images
    )
    if (
        pixels.dtype != np.uint8
        or pixels.ndim != 4
        or pixels.shape[-1] != 3
        or len(pixels) == 0
    ):
        raise ValueError(
            'expected images as uint8 (N, height, width, 3), got '
            f'{pixels.dtype} {pixels.shape} in {path}'
        )
    return pixels
