"""Turn, scale and shift an image at random."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomAffine(BaseTransform):
    """Turns, scales and shifts an image about its centre.

    As torchvision's ``RandomAffine``, but that the pixels of the edge go on
    outside, where torchvision fills with one value: corners of one value
    would tell the views of an image apart.

    Modified key: ``img`` (uint8, (H, W, C) or (H, W)); the size stays.

    Args:
        degrees: The angle is from [-degrees, degrees].
        translate: Shares of width and height, from 0 to 1, that the shift is
            at most, in either direction.
        scale: Least and largest factor by which the content grows.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(
        self,
        degrees: float,
        translate: Sequence[float] = (0.0, 0.0),
        scale: Sequence[float] = (1.0, 1.0),
    ) -> None:
        if not _numbers([degrees], 1) or not 0 <= degrees <= 180:
            raise ValueError(
                f'expected degrees as one number from 0 to 180, got {degrees}'
            )
        if not _numbers(translate, 2) or not all(
            0 <= share <= 1 for share in translate
        ):
            raise ValueError(
                'expected translate of two shares from 0 to 1, got '
                f'{translate!r}'
            )
        if not _numbers(scale, 2) or not 0 < scale[0] <= scale[1]:
            raise ValueError(
                'expected scale of two finite numbers, 0 < low <= high, got '
                f'{scale!r}'
            )
        self.degrees = degrees
        self.translate = tuple(translate)
        self.scale = tuple(scale)

    def transform(self, results: dict) -> dict:
        """Move ``results['img']``."""
        image = results['img']
        height, width = image.shape[:2]
        angle = np.random.uniform(-self.degrees, self.degrees)
        scale = np.random.uniform(*self.scale)
        shift = [
            np.random.uniform(-share, share) * side
            for share, side in zip(
                self.translate, (width, height), strict=True
            )
        ]
        moved = cv2.warpAffine(
            image,
            np.array(sources(angle, scale, shift, (height, width))),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        results['img'] = moved.reshape(image.shape)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(degrees={self.degrees}, '
            f'translate={self.translate}, scale={self.scale})'
        )


def _numbers(values: object, count: int) -> bool:
    return (
        isinstance(values, Sequence)
        and len(values) == count
        and all(
            isinstance(v, int | float) and math.isfinite(v) for v in values
        )
    )


def sources(
    angle: float, scale: float, shift: Sequence[float], size: Sequence[int]
) -> list[list[float]]:
    """Where the pixels of the moved image come from.

    Args:
        angle: In degrees, anticlockwise.
        scale: Factor by which the content grows.
        shift: To the right and downwards, px.
        size: Height and width, px.

    Returns:
        (2, 3): times (x, y, 1) of the moved image gives (x, y) of the given.
    """
    cos = math.cos(math.radians(angle)) / scale
    sin = math.sin(math.radians(angle)) / scale
    middle = (size[1] - 1) / 2, (size[0] - 1) / 2
    x, y = middle[0] + shift[0], middle[1] + shift[1]
    return [
        [cos, -sin, middle[0] - cos * x + sin * y],
        [sin, cos, middle[1] - sin * x - cos * y],
    ]
