"""Clusters against classes, matched pairs on the diagonal."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from ahpcl.core.metrics.cluster_quality import Confusion, confusion
from ahpcl.utils.text import as_utf8

from .canvas import INK, Canvas, count, heading, tidy
from .clusters import ClassName

_MOST_NUMBERS = 400  # cells that show their count
_MOST_TICKS = 70


def ordered_confusion(assignments: Tensor, labels: Tensor) -> Confusion:
    """Return clusters (rows) and classes (columns) in an order to look at.

    Matched pairs come first, on the diagonal, in the order of the classes;
    then the other classes, and the other clusters by the class that most of
    their images have, large ones first. Images without a label, and clusters
    without labelled images, are left out.

    Args:
        assignments: Cluster of every image, (N,).
        labels: Class of every image, (N,), -1 where unknown.

    Raises:
        ValueError: If no image has a label.
    """
    known = labels >= 0
    if not bool(known.any()):
        raise ValueError('expected labels of some images, got none')
    found = confusion(assignments.cpu()[known], labels[known])
    matched = found.matched
    pairs = found.classes[:matched].argsort()
    classes = found.classes[matched:].argsort() + matched
    columns = torch.cat([pairs, classes])
    table = found.table[:, columns]
    rest = table[matched:]
    sizes = rest.sum(dim=1).argsort(descending=True, stable=True)
    most = rest[sizes].argmax(dim=1).argsort(stable=True)
    rows = torch.cat([pairs, sizes[most] + matched])
    return Confusion(
        table=table[rows],
        clusters=found.clusters[rows],
        classes=found.classes[columns],
        matched=matched,
    )


def confusion_figure(
    assignments: Tensor,
    labels: Tensor,
    num_clusters: int,
    *,
    class_name: ClassName = str,
    source: str = '',
) -> Figure:
    """Draw clusters against classes; shades are shares of the cluster.

    Args:
        assignments: Cluster of every image, (N,).
        labels: Class of every image, (N,), -1 where unknown.
        num_clusters: K.
        class_name: Name of a class.
        source: What the prototypes are of, such as a checkpoint's name.

    Raises:
        ValueError: If no image has a label.
    """
    found = ordered_confusion(assignments, labels)
    table = found.table.numpy()
    rows, columns = table.shape
    cell = 0.34 if max(rows, columns) <= 30 else 0.13
    width = min(max(4.2, cell * columns), 9.5)
    height = min(max(2.2, cell * rows), 13.0)
    names = [as_utf8(class_name(int(label))) for label in found.classes]
    below = 0.3 + 0.06 * max(len(name) for name in names)
    parts = [
        source,
        count(int(table.sum())),
        f'{100 * np.trace(table) / table.sum():.1f} % in '
        f'{count(found.matched, "matched pair")}',
    ]
    if rows < num_clusters:
        empty = count(num_clusters - rows, 'cluster')
        parts.append(f'{empty} without images left out')
    canvas = Canvas(
        width + 2.4,
        height + 0.3 + below,
        f'{count(num_clusters, "cluster")} against '
        f'{count(columns, "class", "classes")}',
        parts,
    )
    axes = canvas.axes(0.95, 0.3, width, height)
    share = table / table.sum(1, keepdims=True)
    picture = axes.imshow(
        share,
        cmap='Blues',
        vmin=0,
        vmax=share.max(),
        aspect='auto',
        interpolation='none',
    )
    tidy(axes, grid=False)
    if found.matched < rows:
        axes.axhline(found.matched - 0.5, color=INK, linewidth=0.8)
    if found.matched < columns:
        axes.axvline(found.matched - 0.5, color=INK, linewidth=0.8)
    axes.set_ylabel('cluster')
    if columns <= _MOST_TICKS:
        axes.set_xticks(range(columns), names, rotation=90, fontsize=7)
        if max(map(len, names)) <= 2:
            axes.tick_params(axis='x', rotation=0)
    else:
        axes.set_xticks([])
    axes.set_xlabel('class')
    if rows <= _MOST_TICKS:
        axes.set_yticks(
            range(rows), [f'#{int(c)}' for c in found.clusters], fontsize=7
        )
    else:
        axes.set_yticks([])
    if rows * columns <= _MOST_NUMBERS:
        _numbers(axes, table, share)
    bar = canvas.axes(width + 1.15, 0.3, 0.14, min(height, 2.2))
    canvas.figure.colorbar(picture, cax=bar)
    tidy(bar, grid=False)
    bar.tick_params(labelsize=7, length=2, width=0.6)
    bar.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    heading(bar, 'share of\nthe cluster')
    bar.title.set_fontsize(7)
    return canvas.figure


def _numbers(axes: Axes, table: np.ndarray, share: np.ndarray) -> None:
    for row, column in zip(*np.nonzero(table), strict=True):
        axes.text(
            column,
            row,
            f'{table[row, column]}',
            ha='center',
            va='center',
            fontsize=6.5,
            color='white' if share[row, column] > 0.6 * share.max() else INK,
        )
