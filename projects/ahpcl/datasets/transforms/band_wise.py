"""Lets pipelines made for colour images work on any number of bands."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform, Compose

from ahpcl.utils.said import log_once

from ..pixel_format import PixelFormat
from .color import ChannelMix, SafeColorJitter
from .loading import LoadImageBGR
from .multi_view import SeededMultiView
from .role import SetRole

# Between colours, so that there is nothing to do without them.
_OF_COLOURS = ('RandomGrayscale',)


class BandWise(BaseTransform):
    """Apply a transform to every band of an image alike.

    mmcv's and Pillow's transforms know gray and colour only: they take a
    fourth band for transparency, and refuse others. Here each band passes as
    a gray image, with the same draws from the generators of NumPy,
    ``random`` and torch (CPU).

    Modified key: ``img``, (H, W, C). Other keys are those of the last band.

    Args:
        transform: A built transform of the pipeline.
    """

    def __init__(self, transform: Callable[[dict], dict | None]) -> None:
        self.inner = transform

    def transform(self, results: dict) -> dict | None:
        """Change ``results['img']``."""
        image = results['img']
        state = (
            random.getstate(),
            np.random.get_state(),
            torch.default_generator.get_state(),
        )
        bands, done = [], results
        for band in range(image.shape[2]):
            if band:
                random.setstate(state[0])
                np.random.set_state(state[1])
                torch.default_generator.set_state(state[2])
            gray = np.ascontiguousarray(image[:, :, band])
            done = self.inner({**results, 'img': gray})
            if done is None:
                return None
            bands.append(done['img'].reshape(done['img'].shape[:2]))
        done['img'] = np.stack(bands, axis=2)
        return done

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.inner})'


def fit_pipeline(pipeline: Compose, pixels: PixelFormat) -> None:
    """Fit a pipeline, built for colour images, to those of a data set.

    The loading transform is told how files become 8 bits. Where images have
    other than three channels, transforms between colours are left out, which
    is said once, and the others are applied to every band.

    Args:
        pipeline: Changed in place; once fitted it stays as it is.
        pixels: The format of the images.
    """
    left_out: list[str] = []
    for transform in pipeline.transforms:
        if isinstance(transform, LoadImageBGR):
            transform.pixels = pixels
    if pixels.channels != 3:
        pipeline.transforms = _fitted(pipeline.transforms, left_out)
    if left_out:
        log_once(
            f'images of {pixels.channels} channels have no colours: '
            f'{", ".join(sorted(set(left_out)))} left out'
        )


def _fitted(transforms: list[Any], left_out: list[str]) -> list[Any]:
    found = []
    for transform in transforms:
        name = type(transform).__name__
        if isinstance(transform, SeededMultiView):
            for view in transform.pipelines:
                view.transforms = _fitted(view.transforms, left_out)
        elif name in _OF_COLOURS:
            left_out.append(name)
            continue
        elif name == 'RandomApply':
            inner = transform.transforms
            inner.transforms = _fitted(inner.transforms, left_out)
        elif name == 'SafeColorJitter':
            left_out += _without_colours(transform)
            transform = BandWise(transform)
        elif not isinstance(
            transform, BandWise | ChannelMix | LoadImageBGR | SetRole
        ) and not name.startswith(('Pack', 'Load')):
            transform = BandWise(transform)
        found.append(transform)
    return found


def _without_colours(jitter: SafeColorJitter) -> list[str]:
    changes = [
        name
        for name in ('saturation', 'hue')
        if getattr(jitter, name) is not None
    ]
    for name in changes:
        setattr(jitter, name, None)
    return [f'{name} of SafeColorJitter' for name in changes]
