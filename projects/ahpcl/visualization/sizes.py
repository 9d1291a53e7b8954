"""How many images the clusters of every level have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from .canvas import INK, Canvas, count, heading, tidy
from .clusters import size_histogram
from .colours import FEW

_WIDTH, _HEIGHT = 3.3, 2.5
_COLUMNS = 3


def sizes_figure(sizes: Sequence[Tensor], *, source: str = '') -> Figure:
    """Draw histograms of cluster sizes, one for every level.

    Args:
        sizes: Images of every cluster, (K,) for each level.
        source: What the prototypes are of, such as a checkpoint's name.
    """
    columns = min(_COLUMNS, len(sizes))
    rows = -(-len(sizes) // columns)
    images = count(int(sizes[0].sum()))
    canvas = Canvas(
        max(5.2, 0.6 + columns * (_WIDTH + 0.6)),
        rows * (_HEIGHT + 0.85),
        'Images per cluster',
        (source, images, 'dashed: median'),
    )
    for place, values in enumerate(sizes):
        row, column = divmod(place, columns)
        axes = canvas.axes(
            0.75 + column * (_WIDTH + 0.6),
            0.35 + row * (_HEIGHT + 0.85),
            _WIDTH,
            _HEIGHT,
        )
        found = size_histogram(values)
        axes.bar(
            found.edges[:-1],
            found.clusters,
            np.diff(found.edges),
            align='edge',
            color=FEW[5],
            edgecolor='white',
            linewidth=0.6,
        )
        axes.axvline(found.median, color=INK, linewidth=1, linestyle='--')
        tidy(axes)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel('images in a cluster')
        axes.set_ylabel('clusters')
        title = (
            f'K = {len(values)}: min {found.smallest:,}, median '
            f'{found.median:,g}, max {found.largest:,}'
        )
        if found.empty:
            title += f', {found.empty} empty'
        heading(axes, title)
    return canvas.figure
