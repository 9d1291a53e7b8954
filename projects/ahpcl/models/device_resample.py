"""Crops of their own for every image, resized as Pillow or OpenCV do."""

from __future__ import annotations

import torch
from torch import Tensor

# Bytes of the weights and of what they are applied to, at once.
_BUDGET = 2**28


def resized_crops(
    images: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    interpolation: str = 'bilinear',
    antialias: bool = True,
) -> Tensor:
    """Cut a box from every image and resize it.

    Separable resampling as two batched matrix products. With `antialias` the
    filter grows with the reduction, as in Pillow; without, it is OpenCV's.

    Args:
        images: (B, C, H, W), any type.
        boxes: Top, left, height and width in px, (B, 4) int64.
        size: Height and width of the result.
        interpolation: `'bilinear'` or `'bicubic'`.
        antialias: Pillow's way.

    Returns:
        (B, C, *size) float32 in 0 ... 255, rounded to whole numbers.
    """
    height, width = images.shape[-2:]
    each = 4 * (
        size[0] * height
        + size[1] * width
        + images.shape[1] * (height * width + height * size[1])
    )
    chunk = max(1, _BUDGET // each)
    boxes = boxes.to(images.device)
    found = []
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        box = boxes[part]
        pixels = images[part].float()
        across = _weights(
            box[:, 1], box[:, 3], size[1], width, interpolation, antialias
        )
        down = _weights(
            box[:, 0], box[:, 2], size[0], height, interpolation, antialias
        )
        pixels = pixels @ across.transpose(1, 2)[:, None]
        if antialias:  # Pillow keeps bytes between its two passes
            pixels = _bytes(pixels)
        found.append(_bytes(down[:, None] @ pixels))
    return torch.cat(found)


def _bytes(pixels: Tensor) -> Tensor:
    """Whole numbers from 0 to 255, halves rounded up as Pillow does."""
    return pixels.add_(0.5).floor_().clamp_(0, 255)


def _weights(
    start: Tensor,
    length: Tensor,
    size: int,
    extent: int,
    interpolation: str,
    antialias: bool,
) -> Tensor:
    """Weights of pixels in those of the result, (B, size, extent)."""
    device = start.device
    start, length = start.float()[:, None, None], length.float()[:, None, None]
    scale = length / size
    place = torch.arange(size, device=device).float()[None, :, None] + 0.5
    pixel = torch.arange(extent, device=device).float()[None, None, :]
    centre = start + place * scale
    inside = (pixel >= start) & (pixel < start + length)
    stretch = scale.clamp(min=1.0) if antialias else torch.ones_like(scale)
    offset = ((pixel + 0.5 - centre) / stretch).abs()
    if interpolation == 'bilinear':
        weight = (1 - offset).clamp(min=0)
    else:
        a = -0.5 if antialias else -0.75
        near = ((a + 2) * offset - (a + 3)) * offset.square() + 1
        far = (((offset - 5) * offset + 8) * offset - 4) * a
        weight = torch.where(offset < 1, near, far)
        weight = torch.where(offset < 2, weight, 0.0)
    weight = weight * inside
    return weight / weight.sum(dim=2, keepdim=True)
