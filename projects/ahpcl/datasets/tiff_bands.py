"""Reads TIFF files with bands that Pillow and OpenCV misread or refuse."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _SAMPLES, _ROWS, _STRIP_BYTES = 273, 274, 277, 278, 279
_PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT = 284, 317, 322, 323
_TILES, _TILE_BYTES, _EXTRA, _FORMAT = 324, 325, 338, 339
_KINDS = {1: 'u', 2: 'i', 3: 'f'}
_ALPHA = (1, 2)  # of ExtraSamples: associated (premultiplied), unassociated
_RAW, _DEFLATE = (1,), (8, 32946)


@dataclass(frozen=True)
class TiffPage:
    """What the tags of a page say.

    Attributes:
        tags: Pillow's directory of the page.
        width: Width, px.
        height: Height, px.
        bands: Samples of a pixel, an alpha channel among them.
        dtype: Type of a sample in this machine's byte order; None where the
            samples are of several types or of an unusual one.
        alpha: 1 where the last band is an associated (premultiplied) alpha
            channel, 2 an unassociated one, 0 where the file names none.
        orientation: As in EXIF, 1 to 8.
    """

    tags: TiffImagePlugin.ImageFileDirectory_v2
    width: int
    height: int
    bands: int
    dtype: np.dtype | None
    alpha: int
    orientation: int

    @property
    def is_for_us(self) -> bool:
        """Whether Pillow would misread or refuse the page.

        Pillow takes a fourth band for transparency where the file does not
        say what it is, reads colour of more than 8 bits as 8 bits and knows
        neither two bands nor five.
        """
        if self.dtype is None or self.tags.get(_PHOTOMETRIC) not in (1, 2):
            return False
        if self.bands == 1:
            return False
        if self.bands == 3:
            return self.dtype != np.uint8
        return not (self.bands == 4 and self.alpha and self.dtype == np.uint8)


def tiff_pages(file: BinaryIO) -> Iterator[TiffPage]:
    """Read the tags of every page of a TIFF file.

    Args:
        file: At any place; its content is read by its position.

    Yields:
        One entry for every page, the first one first.

    Raises:
        ValueError: if the file is damaged.
    """
    file.seek(0)
    head = file.read(8)
    if head[2:3] == b'\x2b' or head[3:4] == b'\x2b':
        head += file.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(head)
    offset, seen = tags.next, set()
    while offset and offset not in seen:
        seen.add(offset)
        file.seek(offset)
        tags = TiffImagePlugin.ImageFileDirectory_v2(head)
        try:
            tags.load(file)
            page = _page(tags)
        except Exception as error:  # Pillow's parser raises many kinds
            raise ValueError(f'damaged TIFF tags: {error}') from error
        yield page
        offset = tags.next


def read_page(file: BinaryIO, page: TiffPage) -> np.ndarray:
    """Read the pixels of a page as they are stored.

    Args:
        file: The file.
        page: One of :func:`tiff_pages`, with a ``dtype``.

    Returns:
        (height, width, bands), not turned by the orientation.

    Raises:
        ValueError: if the page is cut off, or compressed in a way that is
            not known.
        PIL.Image.DecompressionBombError: if it has more pixels than Pillow
            admits.
    """
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and page.width * page.height > 2 * most:
        raise Image.DecompressionBombError(
            f'Image size ({page.width * page.height} pixels) exceeds limit of '
            f'{2 * most} pixels, could be decompression bomb DOS attack.'
        )
    tags, planar = page.tags, page.tags.get(_PLANAR, 1) == 2
    each = 1 if planar else page.bands  # bands in a strip or tile
    if _TILES in tags:
        width = max(1, tags[_TILE_WIDTH])
        height = max(1, tags[_TILE_HEIGHT])
        offsets, sizes = tags[_TILES], tags[_TILE_BYTES]
    else:
        width = page.width
        height = max(1, min(tags.get(_ROWS, page.height), page.height))
        offsets, sizes = tags[_STRIPS], tags[_STRIP_BYTES]
    across, down = -(-page.width // width), -(-page.height // height)
    pieces = across * down * (page.bands if planar else 1)
    if not pieces == len(offsets) == len(sizes):
        raise ValueError(f'damaged TIFF: {len(offsets)} pieces of {pieces}')
    corners = [
        (band, top, left)
        for band in range(page.bands if planar else 1)
        for top in range(0, page.height, height)
        for left in range(0, page.width, width)
    ]
    assert page.dtype is not None
    pixels = np.zeros((page.height, page.width, page.bands), page.dtype)
    for (band, top, left), offset, size in zip(
        corners, offsets, sizes, strict=True
    ):
        # Tiles are whole at the edges of an image, strips are not.
        rows = height if _TILES in tags else min(height, page.height - top)
        file.seek(offset)
        piece = _piece(file.read(size), page, (rows, width, each))
        piece = piece[: page.height - top, : page.width - left]
        bottom, right = top + piece.shape[0], left + piece.shape[1]
        where = slice(band, band + 1) if planar else slice(None)
        pixels[top:bottom, left:right, where] = piece
    return pixels


def _page(tags: TiffImagePlugin.ImageFileDirectory_v2) -> TiffPage:
    bands = int(tags.get(_SAMPLES, 1))
    bits = set(_tuple(tags.get(_BITS, 1)))
    kinds = set(_tuple(tags.get(_FORMAT, 1)))
    dtype = None
    if len(bits) == len(kinds) == 1:
        kind, width = _KINDS.get(kinds.pop()), bits.pop()
        if kind and width in ((16, 32, 64) if kind == 'f' else (8, 16, 32)):
            dtype = np.dtype(f'{kind}{width // 8}')
    extra = _tuple(tags.get(_EXTRA, ()))
    # One alpha channel after gray or colour; in others it is a band.
    alpha = extra[0] if len(extra) == 1 and extra[0] in _ALPHA else 0
    return TiffPage(
        tags,
        int(tags[_WIDTH]),
        int(tags[_HEIGHT]),
        bands,
        dtype,
        alpha if bands in (2, 4) else 0,
        int(tags.get(_ORIENTATION, 1)),
    )


def _piece(
    content: bytes, page: TiffPage, shape: tuple[int, int, int]
) -> np.ndarray:
    """Decompress a strip or a tile to (rows, width, bands)."""
    dtype = page.dtype
    assert dtype is not None
    order = '<' if page.tags.prefix == b'II' else '>'
    length = int(np.prod(shape)) * dtype.itemsize
    content = _decompressed(content, page, shape[0], length // shape[0])
    if len(content) < length:
        raise ValueError(
            f'truncated TIFF: {len(content)} bytes of {length} in a piece'
        )
    predictor = page.tags.get(_PREDICTOR, 1)
    content = content[:length]
    if predictor == 3:  # bytes of the floats by significance, differences
        rows, width, bands = shape
        data = np.frombuffer(content, np.uint8).reshape(rows, -1, bands)
        data = np.cumsum(data, axis=1, dtype=np.uint8)
        data = data.reshape(rows, dtype.itemsize, width * bands)
        stored = np.ascontiguousarray(data.transpose(0, 2, 1))
        return stored.view(dtype.newbyteorder('>')).reshape(shape)
    values = np.frombuffer(content, dtype.newbyteorder(order)).reshape(shape)
    if predictor == 2:
        unsigned = values.astype(dtype).view(f'u{dtype.itemsize}')
        return np.cumsum(unsigned, axis=1, dtype=unsigned.dtype).view(dtype)
    return values


def _decompressed(
    content: bytes, page: TiffPage, rows: int, row_bytes: int
) -> bytes:
    method = int(page.tags.get(_COMPRESSION, 1))
    if method in _RAW:
        return content
    if method in _DEFLATE:
        try:
            length = rows * row_bytes  # however much there is
            return zlib.decompressobj().decompress(content, length)
        except zlib.error as error:
            raise ValueError(f'truncated or damaged TIFF: {error}') from error
    # libtiff decompresses bytes whatever they mean: it is given them as a
    # gray image of 8 bits.
    gray = {
        _WIDTH: row_bytes,
        _HEIGHT: rows,
        _BITS: 8,
        _COMPRESSION: method,
        _PHOTOMETRIC: 1,
        _STRIPS: 8,
        _SAMPLES: 1,
        _ROWS: rows,
        _STRIP_BYTES: len(content),
    }
    table = b''.join(
        struct.pack('<HHII', tag, 4, 1, value) for tag, value in gray.items()
    )
    padded = content + b'\0' * (len(content) % 2)
    head = struct.pack('<2sHI', b'II', 42, 8 + len(padded))
    directory = struct.pack('<H', len(gray)) + table + b'\0' * 4
    file = io.BytesIO(head + padded + directory)
    try:
        with TiffImagePlugin.TiffImageFile(file) as image:
            return image.tobytes()
    except Exception as error:
        raise ValueError(
            f'TIFF of several bands with compression {method} cannot be '
            f'read ({error}); save it with LZW, deflate or no compression'
        ) from error


def _tuple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)
