"""Decodes image files to arrays of 8-bit pixels."""

import io
import os
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from .pixel_format import USUAL, PixelFormat, scaled_by_type
from .raw_pixels import RawPixels, read_raw, read_rgba

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)

_PLAIN = ('RGB', 'L', '1')
_SIXTEEN_BIT = ('I;16', 'I;16L', 'I;16B', 'I;16N')
_ALPHA = ('RGBA', 'LA', 'PA', 'RGBa', 'La')


def to_rgb(image: Image.Image, background: Colour = WHITE) -> np.ndarray:
    """Convert a Pillow image of any mode to 8-bit RGB.

    ============================  ===========================================
    given                         becomes
    ============================  ===========================================
    EXIF orientation              turned upright (as OpenCV's reader does)
    1 bit, grayscale              the value in all three channels
    palette                       its colours
    transparency of any kind      laid over ``background``
    CMYK, YCbCr, Lab, HSV         Pillow's conversion, no colour profile
    16-bit grayscale              ``round(v / 257)``: 0 to 0, 65535 to 255
    32-bit integers               as 16-bit; refused beyond 0..65535
    float                         0..1 to 0..255; refused beyond
    animation, several pages      the first frame
    ============================  ===========================================

    :func:`read_image` takes other ranges, and bands that Pillow has not.

    Args:
        image: A Pillow image, loaded or not.
        background: RGB colour, 0 to 255, shown through transparent pixels.

    Returns:
        uint8 array (H, W, 3), channels R, G, B.

    Raises:
        ValueError: if the pixel values fit none of the rows above.
    """
    image = ImageOps.exif_transpose(image)
    mode = image.mode
    if mode in _SIXTEEN_BIT or mode in ('I', 'F'):
        return _gray(scaled_by_type(np.asarray(image)))
    if mode in _ALPHA or 'transparency' in image.info:
        image = image.convert('RGBA')
        below = Image.new('RGBA', image.size, (*background, 255))
        return np.array(Image.alpha_composite(below, image).convert('RGB'))
    if mode in _PLAIN or mode in ('P', 'CMYK', 'YCbCr', 'LAB', 'HSV', 'RGBX'):
        return np.array(image if mode == 'RGB' else image.convert('RGB'))
    raise ValueError(
        f'expected an image of a known kind, got Pillow mode {mode!r}; '
        'convert it to RGB or grayscale first'
    )


def read_image(
    path: str | os.PathLike[str],
    pixels: PixelFormat = USUAL,
    background: Colour = WHITE,
    content: bytes | None = None,
) -> np.ndarray:
    """Read an image file of any depth and any bands to 8 bits.

    Args:
        path: The file.
        pixels: Bands, and what becomes 0 and 255. By default RGB, and the
            range of the type as :func:`to_rgb` has it.
        background: RGB colour shown through transparent pixels.
        content: Content of the file, where it has been read already.

    Returns:
        uint8 array (H, W, channels): R, G, B where there are three, else in
        the order of the file.

    Raises:
        ValueError: if the file is missing, truncated, no image or of a kind
            that cannot be converted. The message names the path.
    """
    try:
        if content is not None:
            return _read(io.BytesIO(content), pixels, background)
        with open(path, 'rb') as file:
            return _read(file, pixels, background)
    except Exception as error:
        raise ValueError(unreadable(error, path)) from error


def stored(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, C) as pipelines and caches hold it.

    Three channels become B, G, R, as in mmselfsup's pipelines; any other
    number of bands keeps its order.
    """
    return np.ascontiguousarray(
        image[:, :, ::-1] if image.shape[2] == 3 else image
    )


def read_rgb(
    path: str | os.PathLike[str],
    background: Colour = WHITE,
    content: bytes | None = None,
) -> np.ndarray:
    """Read an image file to 8-bit RGB, see :func:`read_image`."""
    return read_image(path, USUAL, background, content)


def _read(
    file: BinaryIO, pixels: PixelFormat, background: Colour
) -> np.ndarray:
    raw = read_raw(file, pixels.pages == 'bands')
    if raw is None and pixels.channels not in (1, 3):
        values = read_rgba(file) if pixels.channels == 4 else None
        raw = None if values is None else RawPixels(values)
    if raw is not None:
        return pixels.convert(raw, background)
    file.seek(0)
    with Image.open(file) as image:
        if image.mode in ('L', '1') and 'transparency' not in image.info:
            upright = ImageOps.exif_transpose(image).convert('L')
            values = np.asarray(upright)[:, :, None]
        else:
            values = to_rgb(image, background)
    return pixels.convert(RawPixels(values), background)


def unreadable(error: Exception, path: str | os.PathLike[str]) -> str:
    """Return the message about an unreadable file, with a remedy.

    Args:
        error: What was raised.
        path: The file.
    """
    return (
        f'expected a readable image, got {os.fspath(path)}: '
        f'{explain(error, path)}; delete or replace the file, or set '
        "on_unreadable='skip' and scan='full' on the dataset to leave such "
        'files out'
    )


def admit_pixels(max_pixels: int | None) -> None:
    """Admit images of so many pixels, in this process and from now on.

    Pillow refuses what is larger than twice ``Image.MAX_IMAGE_PIXELS`` (some
    179 million pixels), as a small file may hold any number of them.

    Args:
        max_pixels: Width times height; None, and less than what is admitted
            already, changes nothing.

    Raises:
        ValueError: if it is no positive number.
    """
    if max_pixels is None:
        return
    if max_pixels < 1:
        raise ValueError(
            'expected max_pixels as a positive number of pixels, or None, '
            f'got {max_pixels}'
        )
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, int(max_pixels))


def explain(error: Exception, path: str | os.PathLike[str]) -> str:
    """Say in a few words why a file could not be read.

    Args:
        error: What Pillow raised.
        path: The file.

    Returns:
        The reason, without the path.
    """
    if isinstance(error, FileNotFoundError):
        return 'no such file'
    if isinstance(error, PermissionError):
        return 'no permission to read it'
    if isinstance(error, IsADirectoryError):
        return 'a directory'
    file = Path(path)
    if file.is_file() and file.stat().st_size == 0:
        return 'zero bytes'
    if isinstance(error, Image.UnidentifiedImageError):
        return 'not an image'
    if isinstance(error, Image.DecompressionBombError):
        (found, *_) = [*re.findall(r'\d+', str(error)), '?']
        return (
            f'{found} pixels, which Pillow takes for a trap that shall fill '
            f'the memory; if it is none, set max_pixels={found} on the dataset'
        )
    text = ' '.join(str(error).split()) or type(error).__name__
    return text.replace(os.fspath(path), 'it')


def _gray(values: np.ndarray) -> np.ndarray:
    """Repeat (H, W) into three equal channels."""
    return np.repeat(values[:, :, None], 3, axis=2)
