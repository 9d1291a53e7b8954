"""Reads image files as they are: their own bands and their own depth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageOps

from .tiff_bands import MAGIC as TIFF
from .tiff_bands import TiffPage, read_page, tiff_pages

NUMPY = b'\x93NUMPY'
_PNG = b'\x89PNG\r\n\x1a\n'
_PNG_ALPHA = {0: 0, 2: 0, 4: 2, 6: 2}  # colour type: with alpha or not
_ORIENTATION = 274
# Modes of Pillow that hold more than 8 bits, and what they become in NumPy.
_WIDE = {
    **dict.fromkeys(('I;16', 'I;16L', 'I;16B', 'I;16N'), 'uint16'),
    'I': 'int32',
    'F': 'float32',
}
_ANIMATED = ('GIF', 'WEBP', 'PNG', 'AVIF')
_ALPHA = ('RGBA', 'LA', 'PA', 'RGBa', 'La')
_NUMPY_TYPES = (
    *('bool', 'uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32'),
    *('float16', 'float32', 'float64'),
)


@dataclass(frozen=True)
class FileKind:
    """What the head of an image file says about its pixels.

    Attributes:
        format: Such as ``'PNG'``; ``'NPY'`` for an array of NumPy.
        size: Width and height, upright, px.
        bands: Bands, without an alpha channel.
        dtype: NumPy's name for the type of the samples: ``'uint8'`` for
            files of up to 8 bits, ``'int32'`` where Pillow reads integers
            without saying how wide they are.
        alpha: Whether it has transparent pixels, or may have.
        pages: Pages of a TIFF file, frames of an animation, 1 for others.
        turned: Whether EXIF says that it is to be turned upright.
    """

    format: str
    size: tuple[int, int]
    bands: int = 3
    dtype: str = 'uint8'
    alpha: bool = False
    pages: int = 1
    turned: bool = False


@dataclass(frozen=True)
class RawPixels:
    """The pixels of a file.

    Attributes:
        values: (H, W, C) of any type, upright, colours as R, G, B, the alpha
            channel last.
        alpha: 1 for an associated (premultiplied) alpha channel, 2 for an
            unassociated one, 0 for none.
    """

    values: np.ndarray
    alpha: int = 0


def inspect(
    file: BinaryIO, full: bool = False
) -> tuple[FileKind, np.ndarray | None]:
    """Read what the head of a file says, and perhaps its pixels.

    Args:
        file: The file.
        full: Decode it, which finds out whether it is whole.

    Returns:
        What it is; and, where it was decoded and holds more than 8 bits, its
        values as in :class:`RawPixels`.

    Raises:
        OSError: if it is no image. Pillow's readers raise other kinds, too.
        ValueError: if it is damaged, or an array that is no image.
    """
    magic = _magic(file)
    pages = _pages(file, magic)
    if magic.startswith(NUMPY):
        shape, dtype = _array_head(file)
        bands = shape[2] if len(shape) == 3 else 1
        kind = FileKind('NPY', (shape[1], shape[0]), bands, dtype.name)
    elif pages and pages[0].is_for_us:
        page = pages[0]
        kind = FileKind(
            'TIFF',
            _upright_size(page.width, page.height, page.orientation),
            page.bands - bool(page.alpha),
            page.dtype.name,
            bool(page.alpha),
            len(pages),
            page.orientation > 1,
        )
    else:
        file.seek(0)
        with Image.open(file) as image:
            kind = _pillow_kind(image, magic, pages)
            if full:
                stored = image.size
                image.load()
                # In a PNG it may stand behind the pixels.
                if kind.format == 'PNG':
                    turn = _orientation(image)
                    size = _upright_size(*stored, turn)
                    kind = replace(kind, size=size, turned=turn != 1)
            if kind.dtype == 'uint8' or not full:
                return kind, None
    raw = read_raw(file) if full else None
    if raw is None or kind.dtype == 'uint8':
        return kind, None
    return kind, raw.values


def read_raw(file: BinaryIO, all_pages: bool = False) -> RawPixels | None:
    """Read the pixels of a file in its own depth and with its own bands.

    Args:
        file: The file.
        all_pages: Take the pages of a TIFF as bands, if they fit.

    Returns:
        The pixels; None where Pillow's 8 bits of gray or colour are all that
        there is in the file.

    Raises:
        OSError: if it is no image. Pillow's readers raise other kinds, too.
        ValueError: if it is damaged, or an array that is no image.
    """
    magic = _magic(file)
    if magic.startswith(NUMPY):
        shape, _ = _array_head(file)
        file.seek(0)
        values = np.load(file, allow_pickle=False)
        return RawPixels(values.reshape(*shape[:2], -1))
    pages = _pages(file, magic)
    if all_pages and len(pages) > 1:
        return _stacked(file, pages)
    if pages and pages[0].is_for_us:
        page = pages[0]
        values = read_page(file, page)
        return RawPixels(_upright(values, page.orientation), page.alpha)
    alpha = _wide_png(magic)
    if alpha is not None:
        return _wide_colour(file, alpha)
    file.seek(0)
    with Image.open(file) as image:
        if image.mode not in _WIDE:
            return None
        values = np.asarray(ImageOps.exif_transpose(image))
    native = values.astype(_WIDE[image.mode], copy=False)
    return RawPixels(native[:, :, None])


def read_rgba(file: BinaryIO) -> np.ndarray | None:
    """Read colours and their alpha channel as four bands of 8 bits.

    Returns:
        (H, W, 4) uint8; None where Pillow finds no alpha channel.
    """
    file.seek(0)
    with Image.open(file) as image:
        if image.mode not in _ALPHA and 'transparency' not in image.info:
            return None
        return np.asarray(ImageOps.exif_transpose(image).convert('RGBA'))


def _magic(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(32)


def _pages(file: BinaryIO, magic: bytes) -> list[TiffPage]:
    if magic[:4] not in TIFF:
        return []
    try:
        return list(tiff_pages(file))
    except ValueError:
        return []  # Pillow says what is wrong


def _wide_png(magic: bytes) -> int | None:
    """Return the alpha channel of a PNG of 16-bit colour; None for others."""
    if not magic.startswith(_PNG) or magic[24] != 16 or magic[25] == 0:
        return None
    return _PNG_ALPHA.get(magic[25])


def _wide_colour(file: BinaryIO, alpha: int) -> RawPixels:
    """Read a PNG of 16-bit colour, of which Pillow reads 8 bits."""
    file.seek(0)
    content = np.frombuffer(file.read(), np.uint8)
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    values = cv2.imdecode(content, flags)
    if values is None:
        raise ValueError('truncated or damaged PNG')
    order = [2, 1, 0, 3][: values.shape[2]]
    file.seek(0)
    with Image.open(file) as image:
        orientation = image.getexif().get(_ORIENTATION, 1)
    values = _upright(values[:, :, order], orientation)
    return RawPixels(values, alpha if values.shape[2] == 4 else 0)


def _pillow_kind(
    image: Image.Image, magic: bytes, pages: list[TiffPage]
) -> FileKind:
    mode, info = image.mode, image.info
    number, turn = len(pages) or 1, _orientation(image)
    size = _upright_size(*image.size, turn)
    if pages:  # Pillow has turned the size of some of these
        page = pages[0]
        size = _upright_size(page.width, page.height, turn)
    if image.format in _ANIMATED:
        number = getattr(image, 'n_frames', 1)
    wide = _wide_png(magic)
    kind = FileKind(
        image.format or mode,
        size,
        bands=1 if mode in (*_WIDE, '1', 'L', 'LA', 'La') else 3,
        dtype=_WIDE.get(mode, 'uint8' if wide is None else 'uint16'),
        alpha=bool(wide) or mode in _ALPHA or 'transparency' in info,
        pages=number,
        turned=turn != 1,
    )
    if wide is not None and magic[25] == 4:
        # OpenCV gives gray with alpha as colour.
        kind = replace(kind, bands=3)
    return kind


def _orientation(image: Image.Image) -> int:
    """Return how EXIF turns an image, by what is read of it so far."""
    if image.format == 'PNG' and 'exif' not in image.info:
        return 1  # Pillow would decode it to look behind the pixels
    return image.getexif().get(_ORIENTATION, 1)


def _upright_size(width: int, height: int, turn: int) -> tuple[int, int]:
    """Return the size of an image that EXIF turns so, 1 to 8."""
    return (height, width) if turn in (5, 6, 7, 8) else (width, height)


def _array_head(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Read shape and type of an array that is an image."""
    file.seek(0)
    version = np.lib.format.read_magic(file)
    reader = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = reader(file)
    if (
        len(shape) not in (2, 3)
        or 0 in shape
        or dtype.name not in (_NUMPY_TYPES)
    ):
        raise ValueError(
            f'an array {dtype} {shape}, no image (H, W) or (H, W, C) of '
            'numbers'
        )
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and shape[0] * shape[1] > 2 * most:
        raise Image.DecompressionBombError(
            f'Image size ({shape[0] * shape[1]} pixels) exceeds limit of '
            f'{2 * most} pixels'
        )
    return shape, dtype


def _stacked(file: BinaryIO, pages: list[TiffPage]) -> RawPixels:
    """Read all pages of a TIFF as bands."""
    kinds = {(p.width, p.height, str(p.dtype)) for p in pages}
    if len(kinds) > 1 or pages[0].dtype is None:
        raise ValueError(
            f'pages of several kinds, {sorted(kinds)[:3]}: they are no bands '
            "of one image; set pages='first'"
        )
    values = [_upright(read_page(file, p), p.orientation) for p in pages]
    return RawPixels(np.concatenate(values, axis=2))


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image as EXIF or TIFF say that it is to be seen."""
    turned = {
        2: lambda v: v[:, ::-1],
        3: lambda v: v[::-1, ::-1],
        4: lambda v: v[::-1],
        5: lambda v: v.swapaxes(0, 1),
        6: lambda v: np.rot90(v, -1),
        7: lambda v: np.rot90(v, 2).swapaxes(0, 1),
        8: lambda v: np.rot90(v),
    }
    return turned.get(orientation, lambda v: v)(values)
