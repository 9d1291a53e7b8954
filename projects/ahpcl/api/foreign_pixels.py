"""Images of another depth, or of more bands, than those of a run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmengine.logging import print_log

from ahpcl.datasets.pixel_format import PixelFormat
from ahpcl.datasets.pixel_survey import extend
from ahpcl.datasets.scan import scan_files

from .image_items import ImageItem
from .preprocessing import Preprocessing, dataset_of
from .run_files import RunFiles


def pixels_for(
    pixels: PixelFormat, items: Sequence[ImageItem], of: str
) -> PixelFormat:
    """Return the format by which images are read, and say where it is new.

    What a run knows of its own images holds for others. A type that it has no
    range for, such as 12 bits in files of 16 where it was trained on
    photographs of 8, gets one by these images, as a training would: by what
    the type may hold they would be all but black.

    Args:
        pixels: Format of the run.
        items: The images; only files are looked at.
        of: Name of the run, for the log.
    """
    paths = [str(i.source) for i in items if isinstance(i.source, Path)]
    if not paths:
        return pixels
    _, findings = scan_files(paths, 'header')
    found, lines = extend(pixels, paths, findings)
    for line in lines:
        print_log(f'images for {of}: {line}', logger='current')
    return found


def with_pixels(files: RunFiles, pixels: PixelFormat) -> RunFiles:
    """Return a run that reads its images by this format from now on.

    Args:
        files: The run.
        pixels: The format, of as many bands.
    """
    config = copy.deepcopy(files.config)
    dataset_of(config).update(pixels.as_dict())
    return replace(files, config=config)


def reading(pipeline: Preprocessing, pixels: PixelFormat) -> Preprocessing:
    """Return a pipeline that reads images by this format.

    Args:
        pipeline: It stays as it is.
        pixels: The format, of as many bands.
    """
    if pixels == pipeline.pixels:
        return pipeline
    made = copy.deepcopy(pipeline)
    made.set_pixels(pixels)
    return made
