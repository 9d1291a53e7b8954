"""Read few-shot data sets from the caches that circulate."""

import io
import math
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ahpcl.utils.file_kind import kind_of
from ahpcl.utils.progress import watched

from .mini_imagenet_layout import CACHES, Item, cache_file
from .safe_pickle import load_arrays
from .scan import usable_cores

_IMAGES = ('data', 'images', 'image_data')
# Pixels may take so many times the bytes that they are packed into.
_MOST_UNPACKED = 200
# What reading a damaged zip raises: cut off, encrypted, packed unknown.
_DAMAGED = (
    *(ValueError, EOFError, RuntimeError, struct.error, zlib.error),
    zipfile.BadZipFile,
)


def read_cache_split(root: Path, split: str) -> tuple[list[Item], np.ndarray]:
    """Read the cache of a split, see :func:`read_cache`.

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
    return read_cache(path, split)


def read_cache(path: Path, split: str = '') -> tuple[list[Item], np.ndarray]:
    """Read one of the caches that circulate, and run nothing in it.

    - ``image_data`` (N, 84, 84, 3) with ``class_dict`` (class name to places);
    - ``data`` or ``images`` with ``labels`` and perhaps ``catname2label``
      (mini-ImageNet, CIFAR-FS, FC100);
    - the images of every class under its name;
    - tieredImageNet's ``<split>_images_png.pkl``, a list of PNG files, and
      ``<split>_images.npz``, whose channels are B, G, R; both beside
      ``<split>_labels.pkl`` with ``label_specific`` or ``labels``.

    Args:
        path: The file.
        split: Name of the split, which is part of the names of classes that
            have numbers only: these mean other classes in every split.

    Returns:
        The images' entries and their pixels, uint8 (N, H, W, 3), RGB. Those
        of an ``.npz`` that is not packed are mapped into memory.

    Raises:
        ValueError: if the file is not such a cache, or asks to run anything.
    """
    tiered = path.name.endswith(('_images.npz', '_images_png.pkl'))
    try:
        images, pairs = (_tiered if tiered else _one_file)(path, split)
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f'expected images and their labels in {path}, got values of other '
            f'kinds: {error}'
        ) from error
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


def _one_file(path: Path, split: str) -> tuple[Any, list[tuple[int, str]]]:
    """Return images, and pairs of a place and the name of its class."""
    if kind_of(path) == 'a zip archive':  # an .npz, whatever it is called
        with _opened(path) as archive:
            names = [name.removesuffix('.npy') for name in archive.namelist()]
            content: Any = {name: _array(archive, name) for name in names}
    else:
        content = load_arrays(path)
    keys = sorted(map(str, content)) if isinstance(content, dict) else []
    held = next((key for key in _IMAGES if key in keys), None)
    if held and isinstance(content.get('class_dict'), dict):
        pairs = [
            (int(place), str(name))
            for name, places in content['class_dict'].items()
            for place in places
        ]
        return content[held], pairs
    if held and 'labels' in keys:
        names = {
            int(number): str(name)
            for name, number in content.get('catname2label', {}).items()
        }
        return content[held], _named(content['labels'], names, split)
    if keys and all(_are_images(part) for part in content.values()):
        images = [image for part in content.values() for image in part]
        labels = [name for name, part in content.items() for _ in part]
        return images, _named(labels, {}, split)
    raise ValueError(
        f'expected image_data and class_dict, or data and labels, in '
        f'{path}, got {keys[:10] or type(content).__name__}'
    )


def _tiered(path: Path, split: str) -> tuple[Any, list[tuple[int, str]]]:
    """Return the same of tieredImageNet's two files."""
    stem = path.name.partition('_images')[0]
    beside = path.with_name(f'{stem}_labels.pkl')
    if not beside.is_file():
        raise ValueError(
            f'expected {beside} beside {path.name}, which does not exist; '
            'get it from where that is from'
        )
    content = load_arrays(beside)
    labels, texts = content, None
    if isinstance(content, dict):
        key = 'label_specific' if 'label_specific' in content else 'labels'
        if key not in content:
            raise ValueError(
                f'expected label_specific or labels in {beside}, got '
                f'{sorted(map(str, content))[:10]}'
            )
        labels, texts = content[key], content.get(f'{key}_str')
    names = {}
    if texts is not None:
        # ImageNet has two classes called crane.
        seen = Counter(map(str, texts))
        names = {
            number: str(text) if seen[str(text)] == 1 else f'{text} {number}'
            for number, text in enumerate(texts)
        }
    pairs = _named(labels, names, split or stem)
    if path.suffix == '.pkl':
        return _from_png(load_arrays(path), path), pairs
    with _opened(path) as archive:
        # OpenCV read these images, and they stayed in its order.
        return _array(archive, 'images')[..., ::-1], pairs


def _named(
    labels: Any, names: Mapping[int, str], split: str
) -> list[tuple[int, str]]:
    """Return pairs of a place and the name of its class."""
    prefix = f'{split}_' if split else ''
    pairs = []
    for place, label in enumerate(labels):
        name = label if isinstance(label, str) else names.get(int(label))
        if name is None:
            name = f'{prefix}{int(label):04d}'
        pairs.append((place, str(name)))
    return pairs


def _are_images(part: Any) -> bool:
    return (
        isinstance(part, Sequence | np.ndarray)
        and len(part) > 0
        and isinstance(part[0], np.ndarray)
        and part[0].ndim == 3
    )


def _from_png(files: Any, path: Path) -> np.ndarray:
    """Decode PNG files of one size to uint8 (N, H, W, 3)."""
    if not isinstance(files, Sequence | np.ndarray) or len(files) == 0:
        raise ValueError(
            f'expected a list of PNG files in {path}, got '
            f'{type(files).__name__} of {len(files)}'
        )
    first = _decoded(files[0], 0, path)
    total = first.nbytes * len(files)
    if total > _MOST_UNPACKED * path.stat().st_size + 2**20:
        raise ValueError(
            f'expected images of about the size of {path}, got {len(files)} '
            f'of {first.shape[1]} x {first.shape[0]} px; refused'
        )
    pixels = np.empty((len(files), *first.shape), np.uint8)

    def decode(place: int) -> None:
        image = _decoded(files[place], place, path)
        if image.shape != first.shape:
            raise ValueError(
                f'expected images of one size in {path}, got '
                f'{image.shape[:2]} at {place} after {first.shape[:2]}'
            )
        pixels[place] = image

    with ThreadPoolExecutor(min(16, usable_cores())) as pool:
        done = pool.map(decode, range(len(files)), chunksize=64)
        for _ in watched(done, f'Decoding {path.name}', len(files)):
            pass
    return pixels


def _decoded(file: Any, place: int, path: Path) -> np.ndarray:
    try:
        content = np.asarray(file, np.uint8).tobytes()
        if isinstance(file, bytes | bytearray):
            content = bytes(file)
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert('RGB'))
    except Exception as error:  # Pillow's readers raise many kinds
        raise ValueError(
            f'expected a PNG file at {place} in {path}, got '
            f'{type(file).__name__}: {error}'
        ) from error


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f'expected a complete .npz of numpy, got {path}, which is '
            f'{kind_of(path)}: {error}; get the file again'
        ) from error


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Return an array of an .npz, mapped into memory where it can be."""
    path = Path(str(archive.filename))
    try:
        member = archive.getinfo(f'{name}.npy')
    except KeyError:
        raise ValueError(
            f'expected an array {name!r} in {path}, got '
            f'{", ".join(archive.namelist()[:10]) or "nothing"}'
        ) from None
    most = _MOST_UNPACKED * member.compress_size + 2**20
    if member.file_size > most:
        raise ValueError(
            f'expected {name!r} of at most {most} bytes in {path}, got '
            f'{member.file_size}; refused'
        )
    try:
        if member.compress_type == zipfile.ZIP_STORED:
            mapped = _mapped(path, member)
            if mapped is not None:
                return mapped
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except _DAMAGED as error:
        raise ValueError(
            f'expected an array {name!r} in {path}: {error}; get the file '
            'again'
        ) from error


def _mapped(path: Path, member: zipfile.ZipInfo) -> np.ndarray | None:
    """Map an array that lies in a zip as it is; None for other kinds."""
    with open(path, 'rb') as file:
        file.seek(member.header_offset + 26)
        names = struct.unpack('<HH', file.read(4))
        start = member.header_offset + 30 + sum(names)
        file.seek(start)
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            return None
        shape, fortran, dtype = read(file)
        offset = file.tell()
        size = math.prod(shape) * dtype.itemsize
        if fortran or dtype.hasobject or not size:
            return None
        if offset - start + size > member.file_size:
            raise ValueError(
                f'its header asks for {shape} of {dtype}, more than there is'
            )
        return np.memmap(path, dtype, 'c', offset, shape)


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
