"""Fits a config to its images: channels, range of values, statistics."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from .base import ImageListDataset, quietly
from .memory import InMemoryDataset
from .pixel_format import USUAL, PixelFormat
from .pixel_survey import measure

#: Name of these numbers in a checkpoint, under ``ahpcl``.
PIXELS = 'pixels'
_USUAL = 3  # channels of an encoder whose config does not say
_UNDECIDED = {'channels': 'auto', 'range': 'auto', 'pages': 'first'}


def fit_to_images(config: Any) -> PixelFormat | None:
    """Look at the training images once, and put what follows into a config.

    Nothing is changed for gray and colour images of 8 bits, the usual ones.
    For others every data set of the run gets ``channels``, ``range`` and
    ``pages`` as the plain numbers that the training images gave, so that
    extraction, evaluation and whoever reads the config of the run again see
    the same pixels. Where they have other than three channels, the encoder
    gets as many ``in_channels``, and ``mean`` and ``std`` of the preprocessor
    are measured unless there is a number for every channel.

    Args:
        config: Config of a run, changed in place.

    Returns:
        How the images become 8 bits; None where there is no data set of image
        files for training.

    Raises:
        ValueError: if the images cannot be used, see
            :class:`ahpcl.datasets.base.ImageListDataset`.
    """
    loader = config.get('train_dataloader') or {}
    trained = list(_datasets(loader.get('dataset')))
    if not trained:
        return None
    with quietly():
        datasets = [DATASETS.build(_without_pipeline(t)) for t in trained]
    pixels = _joined([dataset.pixels for dataset in datasets])
    if pixels == USUAL:
        return USUAL
    numbers = pixels.as_dict()
    preprocessor = _preprocessor(config)
    channels = pixels.channels
    if (
        preprocessor is not None
        and channels != 3
        and len(preprocessor.get('mean') or ()) != channels
    ):
        paths = [
            dataset.get_data_info(i)['img_path']
            for dataset in datasets
            for i in range(len(dataset))
        ]
        numbers['mean'], numbers['std'] = measure(paths, pixels)
    fit_to_pixels(config, numbers)
    return pixels


def fit_to_pixels(config: Any, numbers: Mapping[str, Any]) -> None:
    """Put what is known of the images of a run into its config.

    Args:
        config: Config of the run, changed in place.
        numbers: What ``pixels.as_dict()`` of its training images says, and
            perhaps ``mean`` and ``std``, in R, G, B or the order of bands.
    """
    # A Config is no dict, unlike all that is in it.
    for dataset in _datasets(dict(config.items())):
        for key, undecided in _UNDECIDED.items():
            # What somebody chose for one of them stays.
            if dataset.get(key, undecided) == undecided:
                dataset[key] = numbers[key]
    said, channels = [], numbers['channels']
    backbone = (config.get('model') or {}).get('backbone')
    # Another number than the usual one was chosen: it is refused, not changed.
    if backbone and backbone.get('in_channels', _USUAL) == _USUAL != channels:
        backbone['in_channels'] = channels
        said.append(f'model.backbone.in_channels={channels}')
    preprocessor = _preprocessor(config)
    if preprocessor is not None and 'mean' in numbers:
        for key in ('mean', 'std'):
            known = preprocessor.get(key) or ()
            # A checkpoint holds them as float32.
            if len(known) == len(numbers[key]) and np.allclose(
                known, numbers[key], rtol=1e-6
            ):
                continue
            preprocessor[key] = list(numbers[key])
            said.append(f'model.data_preprocessor.{key}={preprocessor[key]}')
    if said:
        print_log(
            f'images of {channels} channels: {", ".join(said)}',
            logger='current',
        )


def pixels_of(checkpoint: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the numbers of the images that a checkpoint was trained on.

    Returns:
        What :func:`fit_to_pixels` takes; None for the usual images, and where
        no checkpoint of this package can be read.
    """
    try:
        content = torch.load(checkpoint, 'cpu', weights_only=True, mmap=True)
        return content['ahpcl'].get(PIXELS)
    except Exception:  # whoever needs the checkpoint says what is wrong
        return None


def _without_pipeline(settings: Mapping[str, Any]) -> dict[str, Any]:
    left_out = ('pipeline', 'decoded_cache', 'decoded_max_side')
    return {k: v for k, v in settings.items() if k not in left_out}


def _joined(formats: Sequence[PixelFormat]) -> PixelFormat:
    """Return the format of several data sets that are trained on together.

    Raises:
        ValueError: if they have other numbers of channels.
    """
    channels = sorted({pixels.channels for pixels in formats})
    if len(channels) > 1:
        raise ValueError(
            f'expected training images of one number of channels, got '
            f'{channels} in several data sets; set channels={channels[0]} on '
            'each of them'
        )
    ranges: dict[str, Any] = {}
    for pixels in formats:
        for dtype, spans in pixels.as_dict()['range'].items():
            ranges.setdefault(dtype, spans)
    return PixelFormat.of(channels[0], ranges, formats[0].pages)


def _preprocessor(config: Any) -> Any | None:
    return (config.get('model') or {}).get('data_preprocessor')


def _datasets(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the configs of data sets of image files within a config."""
    if isinstance(node, dict):
        kind = node.get('type')
        if isinstance(kind, str):
            kind = DATASETS.get(kind)
        if isinstance(kind, type) and issubclass(kind, ImageListDataset):
            if not issubclass(kind, InMemoryDataset):
                yield node
            return
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from _datasets(child)
