"""Figures as files and in TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ahpcl.utils.atomic_write import atomic_write
from ahpcl.utils.own_folder import mark_new_folder

from .canvas import DPI

_SETTINGS = {'svg.hashsalt': 'ahpcl', 'svg.fonttype': 'path'}


class ImageWriter(Protocol):
    """mmengine's ``Visualizer``, or what takes images as it does."""

    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Keep an image (H, W, 3) uint8 RGB."""


def save_figure(figure: Figure, stem: str | os.PathLike) -> list[Path]:
    """Write a figure as PNG and as SVG.

    A file appears under its name only when it is complete. Equal figures
    give equal files.

    Args:
        figure: The figure to write.
        stem: Path without a suffix; folders are made.

    Returns:
        The two files.
    """
    files = []
    mark_new_folder(Path(stem).parent)
    for suffix in ('png', 'svg'):
        target = Path(f'{os.fspath(stem)}.{suffix}')
        with atomic_write(target) as beside:
            _write(figure, beside, suffix)
        files.append(target)
    return files


def render(figure: Figure) -> np.ndarray:
    """Return the pixels of a figure, (H, W, 3) uint8 RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def log_figures(
    writer: ImageWriter, figures: Mapping[str, Figure], step: int
) -> None:
    """Show figures where a run is watched.

    Args:
        writer: mmengine's ``Visualizer``, which hands them to all backends
            that the run has (``TensorboardVisBackend`` shows them, the local
            one keeps a PNG), one such backend, or a TensorBoard
            ``SummaryWriter``.
        figures: Figures by name. A name becomes a file name, so it must not
            have a slash.
        step: Training step that the pictures are of.

    Raises:
        ValueError: If the writer takes no images.
    """
    if not hasattr(writer, 'add_image'):
        raise ValueError(
            'expected a Visualizer, a vis backend or a SummaryWriter, got '
            f'{type(writer).__name__}'
        )
    options: dict[str, Any] = {}
    if hasattr(writer, 'add_hparams'):  # TensorBoard's, not mmengine's
        options['dataformats'] = 'HWC'
    for name, figure in figures.items():
        writer.add_image(name, render(figure), step, **options)


def _write(figure: Figure, path: Path, suffix: str) -> None:
    metadata = {'Software': 'ahpcl'}
    if suffix == 'svg':
        metadata = {'Creator': 'ahpcl', 'Date': None}
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(path, format=suffix, dpi=DPI, metadata=metadata)
