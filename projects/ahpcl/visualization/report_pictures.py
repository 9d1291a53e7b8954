"""Small pictures of images, many in one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from .thumbnails import ImageSource, thumbnail

COLUMNS = 10
PER_SHEET = 100
LARGEST = 64  # px
_LOSSLESS = 32  # px up to which PNG is small
_QUALITY = 82


def side_of(images: ImageSource, indices: Sequence[int]) -> int:
    """Return the side of thumbnails in px: that of the images, 64 at most."""
    sides = [max(images(index).shape[:2]) for index in indices[:16]]
    return min(LARGEST, max(sides, default=LARGEST))


def sheets(
    images: ImageSource, indices: Sequence[int], side: int
) -> list[str]:
    """Lay thumbnails out in rows of ten, a hundred on a sheet.

    Args:
        images: Index to an image (H, W, 3) uint8 RGB.
        indices: Indices of the images, in the order of their places.
        side: Side of a thumbnail in px.

    Returns:
        Data URIs: PNG for small ones, JPEG else.
    """
    found = []
    for start in range(0, len(indices), PER_SHEET):
        own = indices[start : start + PER_SHEET]
        rows = -(-len(own) // COLUMNS)
        sheet = np.full((rows * side, COLUMNS * side, 3), 255, np.uint8)
        for place, index in enumerate(own):
            top, left = (side * n for n in divmod(place, COLUMNS))
            sheet[top : top + side, left : left + side] = thumbnail(
                images(index), side
            )
        found.append(_data_uri(sheet, side))
    return found


def _data_uri(sheet: np.ndarray, side: int) -> str:
    picture = Image.fromarray(sheet)
    target = io.BytesIO()
    if side <= _LOSSLESS:
        kind = 'png'
        picture.save(target, 'PNG', optimize=True)
    else:
        kind = 'jpeg'
        picture.save(target, 'JPEG', quality=_QUALITY, optimize=True)
    text = base64.b64encode(target.getvalue()).decode('ascii')
    return f'data:image/{kind};base64,{text}'
