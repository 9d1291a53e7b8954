"""What the explorer of a report knows of the prototypes and images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ahpcl.evaluation.cluster_names import names_of
from ahpcl.evaluation.run_data import RunData

from .clusters import by_distance, class_table
from .report_pictures import COLUMNS, PER_SHEET, sheets, side_of

NEAREST = 18
FARTHEST = 6
_CLASSES = 6


@dataclass(frozen=True)
class Explorer:
    """Prototypes and images of a report.

    Args:
        data: Data for the script of the page.
        sheets: Thumbnails as data URIs.
        shown: Images that have a thumbnail.
        bare: Number of clusters with images none of which is shown.
    """

    data: dict[str, Any]
    sheets: list[str]
    shown: int
    bare: int


def explorer(run: RunData, max_images: int) -> Explorer:
    """Gather every level of a hierarchy with the images of its clusters.

    Args:
        run: A checkpoint.
        max_images: Most images that are shown, the nearest of every cluster
            first.

    Raises:
        ValueError: If ``max_images`` is not positive.
    """
    if max_images < 1:
        raise ValueError(
            f'expected at least one image to show, got {max_images}'
        )
    levels = run.hierarchy.levels
    distances = [run.distances(place).cpu() for place in range(len(levels))]
    orders = [
        by_distance(own, level.assignments.cpu(), level.num_clusters)
        for own, level in zip(distances, levels, strict=True)
    ]
    places = choose_images(orders, max_images)
    rows = [_level(run, at, orders[at], places) for at in range(len(levels))]
    indices = list(places)
    paths, root = _short([_path(run, index) for index in indices])
    labels = run.training.labels
    side = side_of(run.image, indices)
    data = dict(
        classes=_class_names(run),
        root=root,
        levels=rows,
        images=[
            [
                path,
                int(labels[index]),
                [int(level.assignments[index]) for level in levels],
                [_round(own[index]) for own in distances],
            ]
            for path, index in zip(paths, indices, strict=True)
        ],
        thumbs=dict(
            side=side,
            columns=COLUMNS,
            sheet=PER_SHEET,
            count=len(indices),
        ),
    )
    bare = sum(
        1
        for row in rows
        for size, near in zip(row['size'], row['near'], strict=True)
        if size and not near
    )
    return Explorer(data, sheets(run.image, indices, side), len(indices), bare)


def choose_images(
    orders: Sequence[Sequence[Sequence[int]]], max_images: int
) -> dict[int, int]:
    """Choose the images that are shown: the same rank of all clusters first.

    Args:
        orders: Images of every cluster by distance, for every level, finest
            first. The coarsest are served first.
        max_images: Most images that it shows.

    Returns:
        Place of every chosen image, in the order of the places.
    """
    found: dict[int, int] = {}
    for rank in range(max(NEAREST, FARTHEST)):
        for level in reversed(orders):
            for own in level:
                wanted = [*own[:NEAREST][rank : rank + 1]]
                wanted += _farthest(own)[rank : rank + 1]
                for index in wanted:
                    if len(found) < max_images:
                        found.setdefault(index, len(found))
        if len(found) >= max_images:
            break
    return found


def _farthest(own: Sequence[int]) -> list[int]:
    """Return the farthest first, without those that count as nearest."""
    return list(own[NEAREST:][-FARTHEST:][::-1])


def _level(
    run: RunData,
    at: int,
    orders: Sequence[Sequence[int]],
    places: dict[int, int],
) -> dict[str, Any]:
    level, above = run.hierarchy.levels[at], run.lineage(at)
    distances = run.distances(at).cpu()
    labels = run.training.labels
    table = None
    if bool((labels >= 0).any()):
        table = class_table(
            level.assignments.cpu(), labels, level.num_clusters
        )
    names = names_of(
        run.cluster_names, level.num_clusters, range(level.num_clusters)
    ).tolist()
    return dict(
        k=level.num_clusters,
        names=names if any(names) else None,
        size=[len(own) for own in orders],
        phi=[_round(value) for value in level.concentration],
        mean=[
            _round(distances[own].mean()) if own else None for own in orders
        ],
        known=None if table is None else table.sum(1).tolist(),
        top=None if table is None else [_top(row) for row in table],
        parent=None if above is None else above.parents.tolist(),
        share=None
        if above is None
        else [_round(value) for value in above.share],
        near=[
            [places[i] for i in own[:NEAREST] if i in places] for own in orders
        ],
        far=[
            [places[i] for i in _farthest(own) if i in places]
            for own in orders
        ],
    )


def _top(row: Tensor) -> list[list[int]]:
    """Return pairs of (class, images), the most first."""
    order = torch.argsort(row, descending=True, stable=True)[:_CLASSES]
    return [[int(c), int(row[c])] for c in order if int(row[c])]


def _class_names(run: RunData) -> list[str]:
    labels = run.training.labels
    number = max(int(labels.max()) + 1, len(run.training.classes))
    return [run.training.class_name(label) for label in range(number)]


def _path(run: RunData, index: int) -> str:
    paths = run.training.paths
    return paths[index] if paths else f'image {index}'


def _short(paths: list[str]) -> tuple[list[str], str]:
    """Return paths from the folder that all are in, and that folder."""
    folders = {os.path.dirname(path) for path in paths}
    if not folders or not all(map(os.path.isabs, folders)):
        return paths, ''
    root = os.path.commonpath(folders)
    if root == os.path.dirname(root):
        return paths, ''
    return [os.path.relpath(path, root) for path in paths], root


def _round(value: Tensor) -> float:
    return float(f'{float(value):.4g}')
