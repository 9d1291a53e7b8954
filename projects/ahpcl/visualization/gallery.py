"""Prototypes as their images: the nearest, some, and the farthest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ahpcl.core.clustering.prototypes import PrototypeLevel
from ahpcl.core.seeding import seed_from

from .canvas import DPI, GREY, INK, Canvas, count
from .clusters import ClassName, by_distance, class_table, majority_text
from .thumbnails import ImageSource, strip

_SIDE, _GAP = 48, 2  # px
_BETWEEN = 0.14  # inches between the three groups
_ROW = 0.68


class ClusterImages(NamedTuple):
    """Images of a cluster, no image twice.

    Args:
        nearest: Images near the prototype, the nearest first.
        random: Random ones of those between, by distance.
        farthest: Images far from it, the farthest last.
    """

    nearest: tuple[int, ...]
    random: tuple[int, ...]
    farthest: tuple[int, ...]


def gallery_indices(
    distances: Tensor,
    assignments: Tensor,
    num_clusters: int,
    *,
    nearest: int = 6,
    random: int = 4,
    farthest: int = 4,
    seed: int = 0,
) -> list[ClusterImages]:
    """Choose the images that show a cluster.

    A cluster with few images shows the nearest first, then the farthest, and
    between them at random what is left. Of equal distances the lower index
    counts as nearer.

    Args:
        distances: Distance of every image to its prototype, (N,).
        assignments: Cluster of every image, (N,).
        num_clusters: K.
        nearest: Most images that are nearest to the prototype.
        random: Most images from those between.
        farthest: Most images that are farthest from it.
        seed: Seed of the choice; that of a cluster depends on no other.

    Returns:
        K entries, empty ones for clusters without images.

    Raises:
        ValueError: If the parts are not of the same images.
    """
    if distances.shape != assignments.shape:
        raise ValueError(
            f'expected distances of {len(assignments)} images, got '
            f'{tuple(distances.shape)}'
        )
    orders = by_distance(distances.cpu(), assignments.cpu(), num_clusters)
    found = []
    for cluster, own in enumerate(orders):
        first = own[:nearest]
        rest = own[nearest:]
        cut = max(0, len(rest) - farthest)
        between, last = rest[:cut], rest[cut:]
        generator = torch.Generator().manual_seed(
            seed_from(seed, 'gallery', num_clusters, cluster)
        )
        drawn = torch.randperm(len(between), generator=generator)[:random]
        found.append(
            ClusterImages(
                tuple(first),
                tuple(between[place] for place in drawn.sort().values),
                tuple(last),
            )
        )
    return found


def gallery_figures(
    level: PrototypeLevel,
    distances: Tensor,
    images: ImageSource,
    *,
    labels: Tensor | None = None,
    class_name: ClassName = str,
    source: str = '',
    per_page: int = 20,
    seed: int = 0,
    clusters: Sequence[int] | None = None,
) -> Iterator[Figure]:
    """Yield the galleries of a level, most concentrated clusters first.

    Args:
        level: K clusters of N images.
        distances: Distance of every image to its prototype, (N,).
        images: Index to an image (H, W, 3) uint8 RGB.
        labels: Class of every image, (N,), -1 where unknown; None for none.
        class_name: Name of a class.
        source: What the prototypes are of, such as a checkpoint's name.
        per_page: Clusters of a figure.
        seed: Seed of the random images.
        clusters: Clusters to show, in this order; None for all.

    Yields:
        Figures, one by one.
    """
    chosen = gallery_indices(
        distances, level.assignments, level.num_clusters, seed=seed
    )
    sizes = level.sizes()
    order = clusters
    if order is None:
        order = torch.argsort(level.concentration.cpu(), stable=True).tolist()
    order = [cluster for cluster in order if sizes[cluster] > 0]
    table = None
    if labels is not None and bool((labels >= 0).any()):
        table = class_table(
            level.assignments.cpu(), labels, level.num_clusters
        )
    pages = math.ceil(len(order) / per_page)
    for page in range(pages):
        own = order[page * per_page : (page + 1) * per_page]
        headers = {
            cluster: _header(level, cluster, table, class_name)
            for cluster in own
        }
        empty = 0 if clusters else level.num_clusters - len(order)
        shown = (
            f'clusters {page * per_page + 1} to {page * per_page + len(own)}'
            f' of {len(order)} by concentration phi, small first'
        )
        parts = [
            source,
            f'{len(order)} clusters' if clusters else shown,
            f'{empty} without images left out' if empty else '',
            f'page {page + 1} of {pages}' if pages > 1 else '',
        ]
        yield _page(
            f'Prototypes at K = {level.num_clusters}, '
            f'{count(len(level.assignments))}',
            parts,
            headers,
            chosen,
            images,
        )


def _page(
    title: str,
    note: Sequence[str],
    headers: dict[int, str],
    chosen: list[ClusterImages],
    images: ImageSource,
) -> Figure:
    places = [
        max(1, *(len(group[part]) for group in chosen)) for part in range(3)
    ]
    widths = [(n * (_SIDE + _GAP) - _GAP) / DPI for n in places]
    width = 2 * Canvas.margin + sum(widths) + 2 * _BETWEEN
    canvas = Canvas(max(width, 7.0), 0.3 + _ROW * len(headers), title, note)
    lefts = [Canvas.margin]
    for own in widths[:-1]:
        lefts.append(lefts[-1] + own + _BETWEEN)
    if any(group.farthest for group in chosen):
        for left, name in zip(
            lefts, ('nearest', 'random', 'farthest'), strict=True
        ):
            canvas.text(left, 0.07, name, size=8, color=GREY, style='italic')
    for row, (cluster, header) in enumerate(headers.items()):
        top = 0.4 + _ROW * row
        canvas.text(Canvas.margin, top - 0.05, header, size=7.5, color=INK)
        for part, indices in enumerate(chosen[cluster]):
            if not indices:
                continue
            picture = strip(images, indices, _SIDE, gap=_GAP)
            axes = canvas.axes(
                lefts[part],
                top,
                picture.shape[1] / DPI,
                picture.shape[0] / DPI,
            )
            axes.imshow(picture, interpolation='none', aspect='auto')
            axes.set_axis_off()
    return canvas.figure


def _header(
    level: PrototypeLevel,
    cluster: int,
    table: Tensor | None,
    class_name: ClassName,
) -> str:
    size = int(level.sizes()[cluster])
    phi = float(level.concentration[cluster])
    text = f'#{cluster}   {count(size)}   phi {phi:.3f}'
    if table is not None:
        text += f'   {majority_text(table[cluster], class_name)}'
    return text
