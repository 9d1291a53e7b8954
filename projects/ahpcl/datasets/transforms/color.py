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


@TRANSFORMS.register_module()
class ChannelMix(BaseTransform):
    """Mixes the channels to one gray of fixed mean and contrast.

    For images whose colours tell nothing: with random weights, of which some
    are negative, it is random, too, what is brighter than what. An encoder
    that is trained on such views must see such images in an E-step and an
    evaluation as well, mixed with fixed weights. The mean is 128 and the
    standard deviation 48, both before values below 0 and above 255 are
    clipped; an image of one gray value is 128 everywhere.

    Modified key: ``img`` (uint8, (H, W, C) or (H, W)); the number of its
    channels stays, and all of them are equal.

    Args:
        weights: Of every channel, in the order of the image (B, G, R). None
            draws each from [-1, 1), anew for every image, from NumPy's
            global generator.

    Raises:
        ValueError: If ``weights`` are not finite or all 0; on use, if they
            are not as many as the channels.

    Examples:
        >>> mix = ChannelMix(weights=[1.0, 0.0, 0.0])
        >>> image = np.array([[[5, 9, 9], [7, 1, 1]]], np.uint8)
        >>> mix(dict(img=image))['img'][0, :, 2]
        array([ 80, 176], dtype=uint8)
    """

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        if weights is not None and not (
            isinstance(weights, Sequence)
            and all(isinstance(w, int | float) for w in weights)
            and np.isfinite(weights).all()
            and np.any(weights)
        ):
            raise ValueError(
                'expected a list of finite weights that are not all 0, or '
                f'None for random ones, got {weights!r}'
            )
        self.weights = None if weights is None else tuple(weights)

    def transform(self, results: dict) -> dict:
        """Mix the channels of ``results['img']``."""
        given = results['img']
        image = given.reshape(*given.shape[:2], -1).astype(np.float32)
        weights = self.weights_for(image.shape[2])
        if weights is None:
            weights = np.random.uniform(-1.0, 1.0, image.shape[2])
        gray = image @ np.asarray(weights, np.float32)
        gray -= gray.mean()
        # Less than a tenth of a gray level is rounding.
        spread = max(float(gray.std()), 0.1)
        gray = np.rint(128 + 48 * gray / spread).clip(0, 255)
        gray = gray.astype(np.uint8)[:, :, None]
        mixed = np.repeat(gray, image.shape[2], axis=2)
        results['img'] = mixed.reshape(given.shape)
        return results

    def weights_for(self, channels: int) -> tuple[float, ...] | None:
        """The fixed weights, if there are any.

        Raises:
            ValueError: If they are not as many as the channels.
        """
        if self.weights is not None and len(self.weights) != channels:
            raise ValueError(
                f'expected as many weights of ChannelMix as channels, '
                f'{channels}, got {len(self.weights)}: {self.weights}'
            )
        return self.weights

    def __repr__(self) -> str:
        return f'{type(self).__name__}(weights={self.weights})'


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
