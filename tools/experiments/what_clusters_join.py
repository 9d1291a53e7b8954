#!/usr/bin/env python
r"""What the images of a cluster share: colour, layout or class.

  python tools/experiments/what_clusters_join.py cpu/ahpcl/0 \
      work_dirs/experiments/cpu/ahpcl/0/*/epoch_20.pth

For every level of a checkpoint's prototypes, and for the classes themselves,
the share of variance between clusters, in percent of the total: of the mean
colour of an image (3 numbers), of its 4 x 4 thumbnail (48 numbers) and of its
class (one number per class). Clusters drawn at random have (K - 1) / (N - 1).
And the percent of pairs of a cluster that are of one class.

--without-colour also clusters the features again, as they are and with what a
linear function of the mean colour explains of them taken out: is colour all
that they know?

--gallery FILE draws the images of the two clusters most of whose images are
of one class, and of the two that are the most mixed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import _paths  # noqa: F401  # isort: skip
import _threads  # noqa: F401  # isort: skip  (before torch)
import torch
import torch.nn.functional as F
from _plan import PLAN, read_plan
from torch import Tensor

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)
from ahpcl.core import build_hierarchy, pair_precision
from ahpcl.evaluation.run_data import RunData
from ahpcl.visualization.clusters import class_table
from ahpcl.visualization.gallery import gallery_figures

THUMBNAIL = 4


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('row', help='name of a row, whose config is read')
    parser.add_argument('checkpoint')
    parser.add_argument('--plan', default=str(PLAN))
    parser.add_argument('--without-colour', action='store_true')
    parser.add_argument('--gallery', help='PNG of good and bad prototypes')
    parser.add_argument(
        '--level', type=int, help='clusters of its level (default: the most)'
    )
    return parser.parse_args(argv)


def share_between(values: Tensor, clusters: Tensor) -> float:
    """Share of variance between clusters (eta squared), in percent.

    Args:
        values: Numbers (N, D) of the images.
        clusters: Cluster (N,) of every image.

    Returns:
        100 where all images of a cluster are alike, 0 where the means of all
        clusters are the same; NaN where all images are alike.
    """
    values = values.double()
    values = values - values.mean(0)
    members = F.one_hot(clusters.long()).double()
    sizes = members.sum(0).clamp(min=1)
    means = members.T @ values / sizes[:, None]
    between = (sizes[:, None] * means.square()).sum()
    return float(100 * between / values.square().sum())


def properties(run: RunData) -> dict[str, Tensor]:
    """What every training image is like, by name: (N, D) each."""
    images = [
        torch.from_numpy(run.image(index).copy()).permute(2, 0, 1).float()
        for index in range(len(run.training_loader.dataset))
    ]
    small = torch.stack(
        [F.adaptive_avg_pool2d(image, THUMBNAIL) for image in images]
    )
    labels = run.training.labels
    return {
        'colour': small.mean((2, 3)),
        'layout': small.flatten(1),
        'class': F.one_hot(labels).double(),
    }


def without(points: Tensor, values: Tensor) -> Tensor:
    """Unit rows (N, D) from which a linear function of values is taken."""
    known = torch.cat([values, torch.ones(len(values), 1)], 1).double()
    points = points.double()
    points = points - known @ torch.linalg.lstsq(known, points).solution
    return F.normalize(points, dim=1).float()


def clustered_again(run: RunData, colour: Tensor) -> dict[str, Tensor]:
    """Clusters (N,) by name: of all features, and of those without colour."""
    counts = tuple(own.num_clusters for own in run.hierarchy.levels)
    found = {}
    for name, points in (
        ('k-means again', run.points),
        ('without colour', without(run.points, colour)),
    ):
        hierarchy = build_hierarchy(points, counts)
        for level in hierarchy.levels:
            found[f'K = {level.num_clusters}, {name}'] = level.assignments
    return found


def best_and_worst(clusters: Tensor, labels: Tensor) -> list[int]:
    """Two clusters with the largest majority of a class, two with the least.

    Args:
        clusters: Cluster (N,) of every image.
        labels: Class (N,) of every image.

    Returns:
        The best first, without clusters of fewer than half as many images as
        the median has: those are pure by chance.
    """
    table = class_table(clusters, labels, int(clusters.max()) + 1).double()
    sizes = table.sum(1)
    used = (sizes >= sizes[sizes > 0].median() / 2).nonzero().flatten()
    majority = table[used].max(1).values / sizes[used]
    order = used[majority.argsort(descending=True, stable=True)].tolist()
    return order if len(order) < 4 else order[:2] + order[-2:]


def draw_gallery(run: RunData, row: str, level: int | None, path: str) -> None:
    """Write the picture of good and bad prototypes."""
    counts = [own.num_clusters for own in run.hierarchy.levels]
    if level is not None and level not in counts:
        raise SystemExit(f'expected a level of {counts}, got {level}')
    place = counts.index(level or max(counts))
    own = run.hierarchy.levels[place]
    (figure,) = gallery_figures(
        own,
        run.distances(place),
        run.image,
        labels=run.training.labels,
        class_name=run.training.class_name,
        source=f'{row}: the most and the least of one class',
        clusters=best_and_worst(own.assignments, run.training.labels),
    )
    figure.savefig(path)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table in Markdown."""
    args = parse_args(argv)
    rows = {row.name: row for row in read_plan(args.plan).rows}
    if args.row not in rows:
        raise SystemExit(f'expected a row of {args.plan}, got {args.row!r}')
    run = RunData(rows[args.row].read(), args.checkpoint)
    seen = properties(run)
    number = len(run.training.labels)
    groups = {
        f'K = {level.num_clusters}': level.assignments
        for level in run.hierarchy.levels
    }
    if args.without_colour:
        groups.update(clustered_again(run, seen['colour']))
    groups['classes'] = run.training.labels
    print(f'| {args.row} | by chance | {" | ".join(seen)} | pairs |')
    print('|---' * (len(seen) + 3) + '|')
    for name, clusters in groups.items():
        used = len(clusters.unique())
        shares = [100 * (used - 1) / (number - 1)]
        shares += [share_between(v, clusters) for v in seen.values()]
        shares += [pair_precision(clusters, run.training.labels)]
        print(f'| {name} | {" | ".join(f"{s:.1f}" for s in shares)} |')
    if args.gallery:
        draw_gallery(run, args.row, args.level, args.gallery)


if __name__ == '__main__':
    sys.exit(main())
