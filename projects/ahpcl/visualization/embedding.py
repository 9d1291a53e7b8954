"""Features in the plane, coloured by class and by prototype."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from .canvas import GREY, INK, Canvas, count, heading
from .projection import METHODS, Projection

_SIDE = 4.3
_LEGEND = 12  # entries at most


@dataclass(frozen=True, eq=False)
class Colouring:
    """One picture of the images.

    Args:
        title: What the colours are.
        group: Group of every image that is shown, (n,) int; -1 for none, grey.
        colours: (groups, 3) sRGB from 0 to 1.
        names: Names of the groups, for a legend where there are few.
        prototypes: (groups, 2) in the plane; None to draw none.
    """

    title: str
    group: np.ndarray
    colours: np.ndarray
    names: Sequence[str] = ()
    prototypes: np.ndarray | None = None


def embedding_figure(
    projection: Projection,
    colourings: Sequence[Colouring],
    *,
    num_images: int,
    features: str,
    source: str = '',
) -> Figure:
    """Return the same picture of images in several colourings.

    Prototypes are diamonds with a white edge, and numbered where there is
    room for the number, large clusters first.

    Args:
        projection: Projection of images and prototypes.
        colourings: One picture each.
        num_images: Number of images of which those shown are a sample.
        features: What was laid out, such as 'keys (projector output)'.
        source: What they are of, such as a checkpoint's name.

    Raises:
        ValueError: If a colouring is not of the images that were laid out.
    """
    shown = len(projection.points)
    for colouring in colourings:
        if len(colouring.group) != shown:
            raise ValueError(
                f'expected groups of the {shown} images laid out, got '
                f'{len(colouring.group)}'
            )
    columns = 1 if len(colourings) == 1 else 2
    images = count(num_images)
    if shown < num_images:
        images = f'{shown:,} of {images}'
    legends = [_legend(colouring.names)[1] for colouring in colourings]
    below = [
        0.2 + 0.18 * max(legends[place : place + columns])
        for place in range(0, len(legends), columns)
    ]
    canvas = Canvas(
        max(5.6, 0.3 + columns * (_SIDE + 0.3)),
        sum(below) + len(below) * (_SIDE + 0.25),
        f'{METHODS[projection.method]} of {features}',
        (source, images, 'distances between far points mean little'),
    )
    top = 0.25
    for place, colouring in enumerate(colourings):
        row, column = divmod(place, columns)
        left = Canvas.margin + column * (_SIDE + 0.3)
        axes = canvas.axes(left, top, _SIDE, _SIDE)
        _draw(axes, projection.points, colouring)
        if column == columns - 1:
            top += _SIDE + 0.25 + below[row]
    return canvas.figure


def _draw(axes: Axes, points: np.ndarray, colouring: Colouring) -> None:
    drawn = colouring.prototypes
    extent = points if drawn is None else np.concatenate([points, drawn])
    low, high = extent.min(0), extent.max(0)
    # Room for a number at the right of the last point.
    centre, half = (low + high) / 2, 0.57 * (high - low).max()
    axes.set_xlim(centre[0] - half, centre[0] + half)
    axes.set_ylim(centre[1] - half, centre[1] + half)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color('#d9d9d9')
    heading(axes, colouring.title)
    group = colouring.group
    known = group >= 0
    size = float(np.clip(6000 / len(points), 2.0, 9.0))
    if not known.all():
        axes.scatter(
            *points[~known].T, s=size, color=GREY, lw=0, rasterized=True
        )
    # In an order of its own, so that no group lies on top of the others.
    order = np.random.default_rng(0).permutation(np.flatnonzero(known))
    axes.scatter(
        *points[order].T,
        s=size,
        c=colouring.colours[group[order]],
        alpha=0.85 if drawn is None else 0.6,
        lw=0,
        rasterized=True,
    )
    if drawn is not None:
        few = len(drawn) <= 100
        axes.scatter(
            *drawn.T,
            s=34 if few else 12,
            c=colouring.colours,
            marker='D',
            edgecolors='white',
            linewidths=0.8 if few else 0.4,
            zorder=3,
        )
        sizes = np.bincount(group[known], minlength=len(drawn))
        for cluster in label_places(drawn, sizes, 0.05 * half):
            text = axes.annotate(
                str(cluster),
                drawn[cluster],
                xytext=(4.5, 0),
                textcoords='offset points',
                va='center',
                fontsize=6.5,
                color=INK,
                zorder=4,
            )
            text.set_clip_on(True)
            text.set_path_effects([withStroke(linewidth=1.8, foreground='w')])
    if _legend(colouring.names)[1]:
        marks = [
            Line2D([], [], ls='', marker='o', ms=5, color=tuple(colour))
            for colour in colouring.colours
        ]
        axes.legend(
            marks,
            colouring.names,
            loc='upper center',
            bbox_to_anchor=(0.5, -0.01),
            ncols=_legend(colouring.names)[0],
            frameon=False,
            fontsize=7.5,
            handletextpad=0.2,
            columnspacing=1.2,
        )


def _legend(names: Sequence[str]) -> tuple[int, int]:
    """Return columns and rows of a legend; no rows where it would be long."""
    if not 0 < len(names) <= _LEGEND:
        return 0, 0
    letters = max(map(len, names))
    columns = max(1, min(len(names), int(_SIDE / (0.32 + 0.07 * letters))))
    return columns, -(-len(names) // columns)


def label_places(
    places: np.ndarray, weights: np.ndarray, room: float
) -> list[int]:
    """Choose the labels that fit beside their places without touching.

    Args:
        places: (K, 2).
        weights: (K,); heavier ones come first, of equals the lower index.
        room: Height of a label in the unit of the places; it is twice as
            wide, and a mark is as large as the height.

    Returns:
        Indices of the labels that fit, in that order.
    """
    kept: list[int] = []
    for index in np.argsort(-weights, kind='stable').tolist():
        left = places[index]
        offset = np.abs(places - left)
        marks = (offset[:, 1] < room) & (places[:, 0] > left[0])
        marks &= places[:, 0] - left[0] < 3 * room
        marks[index] = False
        clear = all(
            offset[other, 1] >= room or offset[other, 0] >= 3 * room
            for other in kept
        )
        if clear and not marks.any():
            kept.append(index)
    return kept
