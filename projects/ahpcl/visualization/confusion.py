"""Clusters against classes, matched pairs on the diagonal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .canvas import INK, Canvas, count, heading, tidy
from .majority import ClassName, contingency

_MOST_NUMBERS = 400  # cells that show their count
_MOST_TICKS = 70


class Confusion(NamedTuple):
    """Clusters in rows and classes in columns, in an order to look at.

    Args:
        table: Images, (K, C) int64, rows and columns in this order.
        clusters: Cluster of every row, (K,).
        classes: Class of every column, (C,).
        matched: Pairs; the first so many cells of the diagonal.
        accuracy: Images of matched pairs, in percent of all.
    """

    table: np.ndarray
    clusters: np.ndarray
    classes: np.ndarray
    matched: int
    accuracy: float


def match_clusters(
    assignments: Tensor, labels: Tensor, num_clusters: int
) -> Confusion:
    """Match clusters with classes so that most images agree.

    One cluster to one class (Hungarian matching). Matched classes come first,
    in their order, then the others; the clusters of no class come last, by
    the class that most of their images have.

    Args:
        assignments: Cluster of every image, (N,).
        labels: Class of every image, (N,), -1 where unknown.
        num_clusters: K.

    Raises:
        ValueError: If no image has a label.
    """
    table = contingency(assignments.cpu(), labels, num_clusters).numpy()
    rows, columns = linear_sum_assignment(table, maximize=True)
    order = np.argsort(columns, kind='stable')
    rows, columns = rows[order], columns[order]
    other_rows = np.setdiff1d(np.arange(table.shape[0]), rows)
    keys = (-table[other_rows].sum(1), table[other_rows].argmax(1))
    other_rows = other_rows[np.lexsort(keys)]
    clusters = np.concatenate([rows, other_rows])
    classes = np.concatenate(
        [columns, np.setdiff1d(np.arange(table.shape[1]), columns)]
    )
    agree = table[rows, columns].sum()
    return Confusion(
        table=table[clusters][:, classes],
        clusters=clusters,
        classes=classes,
        matched=len(rows),
        accuracy=100 * float(agree) / float(table.sum()),
    )


def confusion_figure(
    assignments: Tensor,
    labels: Tensor,
    num_clusters: int,
    *,
    class_name: ClassName = str,
    source: str = '',
) -> Figure:
    """Clusters against classes; shades are shares of the cluster.

    Args:
        assignments: Cluster of every image, (N,).
        labels: Class of every image, (N,), -1 where unknown.
        num_clusters: K.
        class_name: Name of a class.
        source: What the prototypes are of, such as a checkpoint's name.

    Raises:
        ValueError: If no image has a label.
    """
    found = match_clusters(assignments, labels, num_clusters)
    rows, columns = found.table.shape
    cell = 0.34 if max(rows, columns) <= 30 else 0.13
    width = min(max(4.2, cell * columns), 9.5)
    height = min(max(2.2, cell * rows), 13.0)
    names = [class_name(int(label)) for label in found.classes]
    below = 0.3 + 0.06 * max(len(name) for name in names)
    parts = [
        source,
        count(int(found.table.sum())),
        f'{found.accuracy:.1f} % in {found.matched} matched pairs',
    ]
    canvas = Canvas(
        width + 2.4,
        height + 0.3 + below,
        f'{rows} clusters against {columns} classes',
        parts,
    )
    axes = canvas.axes(0.95, 0.3, width, height)
    share = found.table / np.maximum(found.table.sum(1, keepdims=True), 1)
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
            range(rows), [f'#{c}' for c in found.clusters], fontsize=7
        )
    else:
        axes.set_yticks([])
    if rows * columns <= _MOST_NUMBERS:
        _numbers(axes, found.table, share)
    bar = canvas.axes(width + 1.15, 0.3, 0.14, min(height, 2.2))
    canvas.figure.colorbar(picture, cax=bar)
    tidy(bar, grid=False)
    bar.tick_params(labelsize=7, length=2, width=0.6)
    bar.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    heading(bar, 'share of\nthe cluster')
    bar.title.set_fontsize(7)
    return canvas.figure


def _numbers(axes: object, table: np.ndarray, share: np.ndarray) -> None:
    for row, column in zip(*np.nonzero(table), strict=True):
        axes.text(  # type: ignore[attr-defined]
            column,
            row,
            f'{table[row, column]}',
            ha='center',
            va='center',
            fontsize=6.5,
            color='white' if share[row, column] > 0.6 * share.max() else INK,
        )
