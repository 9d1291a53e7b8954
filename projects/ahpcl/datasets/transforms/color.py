"""A colour jitter that works on any NumPy."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageEnhance

Range = tuple[float, float] | None


@TRANSFORMS.register_module()
class SafeColorJitter(BaseTransform):
    """Brightness, contrast, saturation and hue, changed in random order.

    Draws the same numbers from NumPy's global generator and gives the same
    bytes as mmselfsup's ``ColorJitter`` (backend 'pillow') does on NumPy 1.
    On NumPy 2 mmselfsup's raises ``OverflowError: Python integer -22 out of
    bounds for uint8`` for every second image, because a negative shift of
    the hue no longer wraps around. Here it is wrapped before the conversion,
    in this transform, so that it works in every worker however it is
    started.

    Required and modified key: ``img`` (uint8, (H, W, 3), BGR; or a gray
    (H, W), for which there is neither saturation nor hue).

    Args:
        brightness: Factor from [max(0, 1 - b), 1 + b], or a (low, high) pair.
        contrast: The same.
        saturation: The same.
        hue: Shift from [-h, h], h at most 0.5, or a (low, high) pair, as a
            share of the colour circle.

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(
        self,
        brightness: float | Sequence[float] = 0.0,
        contrast: float | Sequence[float] = 0.0,
        saturation: float | Sequence[float] = 0.0,
        hue: float | Sequence[float] = 0.0,
    ) -> None:
        self.brightness = _factor('brightness', brightness)
        self.contrast = _factor('contrast', contrast)
        self.saturation = _factor('saturation', saturation)
        low, high = (-hue, hue) if isinstance(hue, int | float) else hue
        if not -0.5 <= low <= high <= 0.5:
            raise ValueError(
                'expected hue from 0 to 0.5, or a pair in -0.5 <= low <= high '
                f'<= 0.5, got {hue!r}'
            )
        self.hue: Range = None if low == high == 0.0 else (low, high)

    def transform(self, results: dict) -> dict:
        """Change the colours of ``results['img']``."""
        order = np.random.permutation(4)
        values = [
            None if bounds is None else float(np.random.uniform(*bounds))
            for bounds in (
                self.brightness,
                self.contrast,
                self.saturation,
                self.hue,
            )
        ]
        given = results['img']
        if given.ndim == 3:
            given = np.ascontiguousarray(given[:, :, ::-1])
        image = Image.fromarray(given)
        for which in order:
            value = values[which]
            if value is None:
                continue
            if which == 3:
                image = shift_hue(image, value)
            else:
                image = _ENHANCERS[which](image).enhance(value)
        changed = np.array(image)
        if changed.ndim == 3:
            changed = np.ascontiguousarray(changed[:, :, ::-1])
        results['img'] = changed
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(brightness={self.brightness}, '
            f'contrast={self.contrast}, saturation={self.saturation}, '
            f'hue={self.hue})'
        )


def shift_hue(image: Image.Image, shift: float) -> Image.Image:
    """Turn the hue of an RGB image.

    Args:
        image: An RGB image.
        shift: Share of the colour circle, -0.5 to 0.5; in steps of 1 / 256,
            towards zero.

    Returns:
        The changed RGB image.
    """
    hue, saturation, value = image.convert('HSV').split()
    step = np.uint8(int(shift * 255) & 0xFF)  # two's complement: -22 is 234
    turned = np.asarray(hue) + step  # uint8, wraps around the circle
    merged = Image.merge('HSV', (Image.fromarray(turned), saturation, value))
    return merged.convert('RGB')


_ENHANCERS = (
    ImageEnhance.Brightness,
    ImageEnhance.Contrast,
    ImageEnhance.Color,
)


def _factor(name: str, value: float | Sequence[float]) -> Range:
    """Return the bounds of a factor around 1; None if it is always 1."""
    if isinstance(value, int | float):
        low, high = max(0.0, 1.0 - value), 1.0 + value
    else:
        low, high = value
    if not 0.0 <= low <= high:
        raise ValueError(
            f'expected {name} of at least 0, or a pair 0 <= low <= high, got '
            f'{value!r}'
        )
    return None if low == high == 1.0 else (low, high)
