"""Whatever holds an image, one by one and named, decoded when it is needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from ahpcl.datasets.decode import to_rgb
from ahpcl.datasets.folder import UnlabelledFolder
from ahpcl.datasets.roots import read_list

Layout = Literal['HWC', 'CHW']
LAYOUTS = ('HWC', 'CHW')
_CHANNELS = (1, 3, 4)
_LIST = '.txt'  # of paths, as a data set takes it for a folder


@dataclass(frozen=True, eq=False)
class ImageItem:
    """An image that was named, and perhaps not decoded yet.

    Attributes:
        name: Path of the file, or ``item 3`` for what is none.
        source: A path, a Pillow image, or pixels (H, W, C) uint8, RGB.
    """

    name: str
    source: Path | Image.Image | np.ndarray

    def sample(self, channels: int = 3) -> dict[str, Any]:
        """Return the beginning of a pipeline: a path, or pixels in memory.

        Args:
            channels: Bands of the images of the run.

        Raises:
            ValueError: If a Pillow image cannot be converted, or pixels have
                other bands than those of the run.
        """
        source = self.source
        if isinstance(source, Path):
            return {'img_path': str(source)}
        if channels != 3:
            pixels = np.asarray(source)
            pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
            if pixels.dtype != np.uint8 or pixels.shape[2] != channels:
                raise ValueError(
                    f'expected uint8 pixels of {channels} bands, as the run '
                    f'was trained on, got {pixels.dtype} {pixels.shape}'
                )
            return {'img': np.ascontiguousarray(pixels)}
        if isinstance(source, Image.Image):
            source = to_rgb(source)
        elif source.shape[2] == 4:
            source = to_rgb(Image.fromarray(source, 'RGBA'))
        elif source.shape[2] == 1:
            source = np.repeat(source, 3, axis=2)
        return {'img': np.ascontiguousarray(source[:, :, ::-1])}


def list_items(
    items: Any, layout: Layout | None = None, channels: int = 3
) -> list[ImageItem]:
    """List the images that somebody hands over, in order.

    Args:
        items: A path of an image, of a folder (all images below it, sorted
            by path) or of a ``.txt`` file that lists paths, a Pillow image,
            an array or a tensor, or any mix of these in a sequence. Arrays
            and tensors are uint8 from 0 to 255:
            (H, W) grey, (H, W, C) or (C, H, W) with 1, 3 (R, G, B) or 4
            (with alpha) channels, or N such images at once with a leading
            dimension.
        layout: 'HWC' or 'CHW' for arrays and tensors whose shape fits both.
        channels: Bands of the images of the run. With other than 3, arrays
            have as many.

    Raises:
        ValueError: If something is no image, there is none, or the layout
            of an array cannot be told.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"expected layout 'HWC' or 'CHW', got {layout!r}")
    found = list(_walk(items, layout, _Counter(channels)))
    if not found:
        raise ValueError('expected at least one image, got none')
    return found


class _Counter:
    """Numbers for images without a name, and the channels of arrays."""

    def __init__(self, channels: int) -> None:
        self.next = 0
        self.possible = _CHANNELS if channels == 3 else (channels,)

    def name(self) -> str:
        self.next += 1
        return f'item {self.next - 1}'


def _walk(
    items: Any, layout: Layout | None, counter: _Counter
) -> Iterator[ImageItem]:
    if isinstance(items, str | os.PathLike):
        counter.next += 1
        yield from _of_path(Path(os.path.expanduser(items)))
    elif isinstance(items, Image.Image):
        yield ImageItem(counter.name(), items)
    elif isinstance(items, np.ndarray | Tensor):
        pixels = _pixels(items)
        if pixels.ndim == 4:
            layout = _layout_of(pixels, layout, counter.possible)
            for image in pixels:
                yield ImageItem(counter.name(), _hwc(image, layout))
        else:
            yield ImageItem(
                counter.name(),
                _hwc(pixels, _layout_of(pixels, layout, counter.possible)),
            )
    elif isinstance(items, Iterable) and not isinstance(items, bytes | dict):
        for item in items:
            yield from _walk(item, layout, counter)
    else:
        raise ValueError(
            'expected paths, folders, Pillow images, arrays or tensors, got '
            f'{type(items).__name__}'
        )


def _of_path(path: Path) -> Iterator[ImageItem]:
    if path.is_dir():
        # Listed only: how pixels are read is what the run says.
        folder = UnlabelledFolder(str(path), lazy_init=True)
        for entry in folder.load_data_list():
            yield ImageItem(entry['img_path'], Path(entry['img_path']))
        return
    if not path.exists():
        raise ValueError(
            f'expected an image or a folder, got {path}, which does not exist'
        )
    if path.suffix.lower() == _LIST:
        for listed in read_list(str(path)):
            yield ImageItem(listed, Path(listed))
        return
    yield ImageItem(str(path), path)


def _pixels(image: np.ndarray | Tensor) -> np.ndarray:
    pixels = image
    if isinstance(pixels, Tensor):
        pixels = pixels.detach().cpu().numpy()
    if pixels.dtype != np.uint8:
        remedy = 'bring it to 0..255 and convert it with .astype("uint8")'
        if pixels.dtype.kind == 'f':
            remedy = (
                'pixels from 0 to 1 become (image * 255).round(), then '
                '.astype("uint8"); an image that was normalised already '
                'must be undone, as the run normalises by itself'
            )
        raise ValueError(
            f'expected pixels as uint8 from 0 to 255, got {pixels.dtype} of '
            f'shape {tuple(pixels.shape)}; {remedy}'
        )
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim not in (3, 4) or 0 in pixels.shape:
        raise ValueError(
            'expected an image of shape (H, W), (H, W, C) or (C, H, W), or N '
            f'of them, got shape {tuple(image.shape)}'
        )
    return pixels


def _layout_of(
    pixels: np.ndarray, layout: Layout | None, possible: tuple[int, ...]
) -> Layout:
    first, last = pixels.shape[-3], pixels.shape[-1]
    could: list[Layout] = []
    if last in possible:
        could.append('HWC')
    if first in possible:
        could.append('CHW')
    shape = tuple(pixels.shape)
    known = '1, 3 or 4' if possible == _CHANNELS else str(possible[0])
    if layout is not None:
        if layout not in could:
            raise ValueError(
                f'expected {layout} with {known} channels, got shape {shape}'
            )
        return layout
    if len(could) == 2:
        raise ValueError(
            f"expected layout='HWC' or layout='CHW' for shape {shape}, which "
            'could be either; say which'
        )
    if not could:
        raise ValueError(
            f'expected an image with {known} channels first or last, got '
            f'shape {shape}; pick as many of them, or convert it'
        )
    return could[0]


def _hwc(pixels: np.ndarray, layout: Layout) -> np.ndarray:
    if layout == 'CHW':
        pixels = pixels.transpose(1, 2, 0)
    return np.ascontiguousarray(pixels)
