"""Load an image, whatever its kind."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from ..decode import WHITE, read_image, stored
from ..decoded_cache_build import reduced
from ..pixel_format import USUAL, PixelFormat


@TRANSFORMS.register_module()
class LoadImageBGR(BaseTransform):
    """Read an image as uint8 BGR, as mmselfsup's pipelines expect it.

    Its data preprocessor turns BGR into RGB (``bgr_to_rgb=True``). How other
    kinds of images become 8-bit colour is listed at
    :func:`ahpcl.datasets.decode.to_rgb`. An image that the dataset holds in
    memory (``img`` present) is taken as it is.

    Required keys: ``img_path``, or ``img`` (uint8, (H, W, C)).
    Added keys: ``img``, (H, W, C), B, G, R where C is 3, else the bands as in
    the file; ``img_shape`` and ``ori_shape`` (height, width).

    Args:
        background: RGB colour, 0 to 255, shown through transparent pixels.
        pixels: How files become 8 bits, what ``dataset.pixels.as_dict()``
            says. The data sets of this package tell it themselves; it is for
            those of others.
        max_side: Reduce longer sides to it, px, as ``decoded_max_side`` of
            those data sets does; None keeps every pixel.

    Raises:
        ValueError: (on use) if the file cannot be read, naming its path, or
            the image in memory is of another kind.
    """

    def __init__(
        self,
        background: tuple[int, int, int] = WHITE,
        pixels: Mapping[str, Any] | None = None,
        max_side: int | None = None,
    ) -> None:
        if len(background) != 3 or not all(0 <= c <= 255 for c in background):
            raise ValueError(
                'expected background as three numbers from 0 to 255, got '
                f'{background!r}'
            )
        self.background = tuple(background)
        self.pixels = PixelFormat.of(**(pixels or {}))
        self.max_side = max_side

    def transform(self, results: dict) -> dict:
        """Add the image to ``results``."""
        image = results.get('img')
        channels = self.pixels.channels
        if image is None:
            image = stored(
                read_image(results['img_path'], self.pixels, self.background)
            )
        elif (
            image.dtype != np.uint8
            or image.ndim != 3
            or image.shape[2] != channels
        ):
            raise ValueError(
                'expected an image in memory as uint8 (height, width, '
                f'{channels}), got {image.dtype} {image.shape}'
            )
        image = np.ascontiguousarray(reduced(image, self.max_side))
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        # Features that are kept are told apart by it.
        settings = f'background={self.background}'
        if self.pixels != USUAL:
            settings += f', pixels={self.pixels}'
        if self.max_side is not None:
            settings += f', max_side={self.max_side}'
        return f'{type(self).__name__}({settings})'
