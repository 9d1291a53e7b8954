"""Small square pictures of images, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

ImageSource = Callable[[int], np.ndarray]


def thumbnail(image: np.ndarray, side: int) -> np.ndarray:
    """Return an image in a white square, its proportions kept.

    Args:
        image: (H, W, 3) uint8 RGB.
        side: Side of the square in px.

    Returns:
        (side, side, 3) uint8.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(
        Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    )
    found = np.full((side, side, 3), 255, dtype=np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    found[top : top + size[1], left : left + size[0]] = small
    return found


def strip(
    images: ImageSource,
    indices: Sequence[int],
    side: int,
    *,
    places: int | None = None,
    gap: int = 2,
) -> np.ndarray:
    """Put thumbnails in a row on white.

    Args:
        images: Index to an image (H, W, 3) uint8 RGB.
        indices: Indices of the images to show, from the left.
        side: Side of a thumbnail in px.
        places: Width in thumbnails; None for as many as there are.
        gap: Gap between two, in px.

    Returns:
        (side, places * (side + gap) - gap, 3) uint8.
    """
    places = max(1, len(indices)) if places is None else places
    width = places * (side + gap) - gap
    found = np.full((side, width, 3), 255, dtype=np.uint8)
    for place, index in enumerate(indices[:places]):
        left = place * (side + gap)
        found[:, left : left + side] = thumbnail(images(index), side)
    return found
