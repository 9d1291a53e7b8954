"""Images as they are stored, before any augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import Dataset


def load_image(dataset: Dataset, index: int) -> np.ndarray:
    """An image before any augmentation, (H, W, 3) uint8 RGB.

    Args:
        dataset: Whose pipeline begins with a transform that loads.
        index: Of the image.

    Raises:
        ValueError: If the pipeline does not begin so.
    """
    dataset, index = _inner(dataset, index)
    transforms = dataset.pipeline.transforms
    if not transforms or not type(transforms[0]).__name__.startswith('Load'):
        raise ValueError(
            'expected a pipeline that begins with LoadImageBGR, got '
            f'{[type(t).__name__ for t in transforms]}'
        )
    image = transforms[0](dataset.get_data_info(index))['img']
    return np.ascontiguousarray(image[..., ::-1])


def _inner(dataset: Any, index: int) -> tuple[Any, int]:
    """The set of a joined one that an image is from, and its place there."""
    if not hasattr(dataset, 'datasets'):
        return dataset, index
    which, place = dataset._get_ori_dataset_idx(index)
    return dataset.datasets[which], place
