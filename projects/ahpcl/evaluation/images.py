"""Images as they are stored, before any augmentation."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import default_collate
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import Dataset

from ahpcl.datasets.pixel_survey import extend
from ahpcl.datasets.scan import scan_files
from ahpcl.datasets.transforms.band_wise import fit_pipeline
from ahpcl.engine.extraction import preprocessed
from ahpcl.models.features import first_view, pool_features


def load_image(dataset: Dataset, index: int) -> np.ndarray:
    """Return an image before any augmentation, (H, W, 3) uint8 RGB.

    Of images of other than three channels it shows the ``show_bands`` of the
    data set, see :func:`shown`.

    Args:
        dataset: A data set whose pipeline begins with a loading transform.
        index: Index of the image.

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
    if image.shape[2] == 3:
        return np.ascontiguousarray(image[..., ::-1])
    return shown(image, getattr(dataset, 'show_bands', None))


def shown(image: np.ndarray, bands: Sequence[int] | None = None) -> np.ndarray:
    """Return bands of an image as colours that can be looked at.

    Args:
        image: (H, W, C) uint8.
        bands: Three bands, from 0, to show as red, green and blue; by default
            the first three. One band is gray, two are red and green.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: If the image does not have these bands.
    """
    count = image.shape[2]
    if bands is None:
        if count == 2:
            image = np.dstack([image, np.zeros_like(image[:, :, 0])])
        bands = (0, 0, 0) if count == 1 else (0, 1, 2)
    elif not all(0 <= band < count for band in bands):
        raise ValueError(
            f'expected show_bands from 0 to {count - 1} for images of {count} '
            f'bands, got {tuple(bands)}'
        )
    return np.ascontiguousarray(image[:, :, list(bands)])


def _inner(dataset: Any, index: int) -> tuple[Any, int]:
    """Find the part of a joined set that an image is from, and its place."""
    if not hasattr(dataset, 'datasets'):
        return dataset, index
    which, place = dataset._get_ori_dataset_idx(index)
    return dataset.datasets[which], place


def _for_depth(dataset: Any, path: str) -> Any:
    """Return a data set that has a range for the depth of a file, too."""
    known = getattr(dataset, 'pixels', None)
    if known is None:
        return dataset
    pixels, lines = extend(known, [path], scan_files([path], 'header')[1])
    if pixels == known:
        return dataset
    for line in lines:
        print_log(
            f'{path}, not as the training images: {line}', logger='current'
        )
    made = copy.copy(dataset)
    made.pixels, made.pipeline = pixels, copy.deepcopy(dataset.pipeline)
    fit_pipeline(made.pipeline, pixels)
    return made


@torch.no_grad()
def encode_image(
    model: nn.Module, dataset: Dataset, path: str | os.PathLike
) -> Tensor:
    """Return pooled features of an image file, (C,) float32 on the CPU.

    Args:
        model: The unwrapped algorithm, in eval mode.
        dataset: The data set whose transforms the image passes.
        path: Path of the image.

    Raises:
        ValueError: If there is no such file or it is no image.
    """
    if not os.path.isfile(path):
        raise ValueError(
            f'expected an image file, got {path}, which does not exist'
        )
    dataset, _ = _inner(dataset, 0)
    dataset = _for_depth(dataset, os.fspath(path))
    try:
        # As those of the data set, reduced if large.
        prepare = getattr(dataset, 'prepare_file', dataset.pipeline)
        sample = prepare({'img_path': str(path), 'sample_idx': 0})
    except (OSError, ValueError) as error:
        raise ValueError(
            f'expected an image file, got {path}: {error}'
        ) from error
    inputs, _ = preprocessed(model, default_collate([sample]))
    return pool_features(model.extract_feat(first_view(inputs)))[0].cpu()
