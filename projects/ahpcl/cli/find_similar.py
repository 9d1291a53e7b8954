r"""Find images like this one, or name the odd ones out.

  python tools/analysis_tools/find_similar.py CONFIG CHECKPOINT cat.jpg
  python tools/analysis_tools/find_similar.py CONFIG CHECKPOINT 1234 --top 50
  python tools/analysis_tools/find_similar.py CONFIG CHECKPOINT --outliers 20

The image is a file or the number of a training image; it is compared with the
training images by the cosine of the query backbone's pooled features.

The odd ones are told in three ways: images far from their ten nearest
neighbours (Angiulli & Pizzuti, PKDD 2002), images far from their prototype in
units of its concentration phi, and clusters that are small or loose. The last
two need a checkpoint with prototypes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ahpcl.cli.console import say
from ahpcl.cli.runs import add_run_arguments, open_run
from ahpcl.core.metrics.neighbours import (
    nearest_neighbours,
    neighbour_outliers,
    prototype_outliers,
)
from ahpcl.evaluation.cluster_table import prototype_table
from ahpcl.evaluation.images import encode_image
from ahpcl.evaluation.run_data import RunData
from ahpcl.utils.atomic_write import atomic_write
from ahpcl.utils.text import as_utf8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    add_run_arguments(parser)
    parser.add_argument(
        'image', nargs='?', help='image file, or number of a training image'
    )
    parser.add_argument('--top', type=int, default=20, help='images to list')
    parser.add_argument(
        '--outliers', type=int, metavar='N', help='list the N oddest instead'
    )
    parser.add_argument('--json', help='file for the findings')


def similar(run: RunData, image: str, top: int) -> list[dict[str, Any]]:
    """Training images like an image, nearest first.

    Args:
        run: A checkpoint.
        image: Number of a training image, which is then left out, or a file.
        top: How many.

    Raises:
        ValueError: If there is no such image.
    """
    number = len(run.training_loader.dataset)
    own = int(image) if image.isdecimal() else None
    if own is None:
        query = encode_image(run.model, run.training_loader.dataset, image)
    elif own < number:
        query = run.training.features[own]
    else:
        raise ValueError(
            f'expected a file, or a number below {number}, that of the '
            f'training images, got {image}'
        )
    cosines, places = nearest_neighbours(
        query[None], run.training.features, top + (own is not None)
    )
    rows = []
    for cosine, place in zip(cosines[0], places[0].tolist(), strict=True):
        if place != own:
            rows.append({'cosine': float(cosine), **about(run, place)})
    return rows[:top]


def about(run: RunData, place: int) -> dict[str, Any]:
    """What is known of a training image."""
    data = run.training
    label = int(data.labels[place])
    row: dict[str, Any] = dict(index=place, path=as_utf8(data.paths[place]))
    if label >= 0:
        row['class'] = as_utf8(data.class_name(label))
    if run.own_prototypes:
        for level in run.hierarchy.levels:
            row[f'k{level.num_clusters}'] = int(level.assignments[place])
    return row


def oddest(run: RunData, number: int) -> dict[str, list[dict[str, Any]]]:
    """The odd images and clusters, oddest first.

    Args:
        run: A checkpoint.
        number: Number of each kind.

    Returns:
        ``neighbours``, and of a checkpoint with prototypes ``prototypes``
        (at the finest level), ``small`` and ``loose`` clusters (of all
        levels).
    """
    far = neighbour_outliers(run.training.features)
    if not run.own_prototypes:
        return dict(neighbours=_top_images(run, far, number))
    level = run.hierarchy.levels[0]
    apart = prototype_outliers(
        run.distances(0), level.assignments, level.concentration
    )
    found = dict(
        neighbours=_top_images(run, far, number),
        prototypes=_top_images(run, apart, number),
    )
    clusters = []
    for place, each in enumerate(run.hierarchy.levels):
        table = prototype_table(run, place)
        table.pop('centroid')
        usual = max(float(torch.median(each.sizes().float())), 1.0)
        mean = float(run.distances(place).mean())
        for row in zip(*(c.tolist() for c in table.values()), strict=True):
            entry = dict(level=f'k{each.num_clusters}')
            entry.update(zip(table, row, strict=True))
            entry['size_to_median'] = entry['size'] / usual
            # Coarse levels are looser, all of them.
            entry['distance_to_mean'] = entry['distance'] / max(mean, 1e-12)
            clusters.append({k: _known(v) for k, v in entry.items()})
    inhabited = [row for row in clusters if row['size'] > 0]
    found['small'] = sorted(clusters, key=lambda r: r['size_to_median'])
    found['loose'] = sorted(inhabited, key=lambda r: -r['distance_to_mean'])
    return {name: rows[:number] for name, rows in found.items()}


def _known(value: Any) -> Any:
    """None for what JSON has no word for: the distance of no image."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _top_images(
    run: RunData, scores: torch.Tensor, number: int
) -> list[dict[str, Any]]:
    order = scores.argsort(descending=True, stable=True)[:number]
    return [
        {'score': float(scores[place]), **about(run, place)}
        for place in order.tolist()
    ]


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Prints rows; a dash for what a row lacks."""
    # As text: a folder called [old] is no style.
    table = Table(title=_cell(title), title_justify='left')
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        table.add_column(name, overflow='fold')
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in names))
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table)


def _cell(value: Any) -> Text:
    if value is None:
        return Text('-')
    if isinstance(value, float):
        return Text(f'{value:.4f}')
    return Text(str(value))


def execute(args: argparse.Namespace) -> Any:
    """Runs the command line; returns the findings."""
    try:
        if (args.image is None) == (args.outliers is None):
            raise ValueError('expected either an image or --outliers N')
        for name in ('top', 'outliers'):
            value = getattr(args, name)
            if value is not None and value < 1:
                raise ValueError(f'expected --{name} of at least 1')
        run = open_run(args)
        if args.image is not None:
            found: Any = similar(run, args.image, args.top)
            show(f'training images like {as_utf8(args.image)}', found)
        else:
            found = oddest(run, args.outliers)
            titles = dict(
                neighbours='images far from their nearest neighbours',
                prototypes='images far from their prototype, in units of phi',
                small='clusters with few images',
                loose='clusters whose images are far from their prototype',
            )
            for name, rows in found.items():
                show(titles[name], rows)
            if not run.own_prototypes:
                say(f'{run.name} holds no prototypes: no odd clusters')
        if args.json:
            text = json.dumps(found, indent=1, allow_nan=False)
            with atomic_write(args.json) as beside:
                beside.write_text(f'{text}\n', 'utf-8')
    except (ValueError, OSError, FloatingPointError) as error:
        raise SystemExit(f'error: {error}') from None
    return found


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    execute(args)
    return 0
