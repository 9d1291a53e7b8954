r"""Tell to which clusters of a run images belong.

  ahpcl assign runs/photos new/
  ahpcl assign runs/photos new/ --out new.csv
  ahpcl assign runs/photos new/ --sort-into sorted/ --level 10

For every level of the run: the cluster, the distance to its prototype (0 to
2), and its probability, how sure; the nearest training images; and 'unlike'
for an image farther from every prototype than held-out training images were.
Clusters have names where there is a clusters.csv beside the run (columns
level, cluster, name).

--sort-into makes folders of links (or copies, --copy), one for every cluster
and one for what is unlike all; it overwrites nothing, keeps images of one
name apart, and goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ahpcl.cli.console import say

from .images import add_image_arguments, check_out, load_encoder

if TYPE_CHECKING:
    from ahpcl.api.assignment import Assignment

SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    add_image_arguments(parser)
    parser.add_argument('--out', help='table to write: .csv, .parquet or .npz')
    parser.add_argument(
        '--sort-into', metavar='FOLDER', help='folder for the sorted images'
    )
    parser.add_argument(
        '--level',
        type=int,
        metavar='K',
        help='number of clusters of the level to show and to sort by '
        '(default: the coarsest)',
    )
    parser.add_argument(
        '--copy', action='store_true', help='sort copies, not links'
    )
    parser.add_argument(
        '--nearest',
        type=int,
        default=3,
        metavar='N',
        help='training images to name (default: 3)',
    )


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from ahpcl.api.sorting import sort_into

    out = None if args.out is None else check_out(args.out)
    encoder = load_encoder(args)
    found = encoder.assign(
        args.images,
        nearest=args.nearest,
        batch_size=args.batch_size,
        on_unreadable='skip' if args.skip_unreadable else 'raise',
    )
    level = args.level or found.levels[-1].num_clusters
    found.level(level)
    if (out is None and args.sort_into is None) or len(found) <= SHOWN:
        show(found, level)
    if out is not None:
        found.save(out)
        say(f'wrote {out}: {len(found)} images')
    if args.sort_into is not None:
        done = sort_into(
            found,
            args.sort_into,
            num_clusters=level,
            how='copy' if args.copy else 'link',
        )
        what = 'copies' if args.copy else 'links'
        say(
            f'{args.sort_into}: {done.made} {what} made, {done.kept} there '
            f'already, in {len(done.folders)} folders'
        )
    summary(found)
    return 0


def show(found: Assignment, num_clusters: int) -> None:
    """Print the first images with their clusters at a level."""
    level = found.level(num_clusters)
    table = Table(title=f'K = {num_clusters}', title_justify='left')
    for name in ('image', 'cluster', 'distance', 'sure', 'nearest', ''):
        table.add_column(name, overflow='fold')
    for place in range(min(SHOWN, len(found))):
        name = level.cluster_names[place]
        nearest = found.nearest[place]
        odd = found.unlike is not None and found.unlike[place]
        cells = (
            found.names[place],
            f'{level.clusters[place]} {name}'.strip(),
            f'{level.distances[place]:.3f}',
            f'{level.probabilities[place]:.1%}',
            nearest[0] if nearest else '-',
            'unlike' if odd else '',
        )
        table.add_row(*map(_text, cells))
    Console(width=None if Console().is_terminal else 160).print(table)
    if len(found) > SHOWN:
        say(f'... and {len(found) - SHOWN} more; --out writes all')


def summary(found: Assignment) -> None:
    """Print what holds for all images."""
    if found.unlike is not None:
        say(
            f'{int(found.unlike.sum())} of {len(found)} images are unlike '
            f'those trained on (farther than {found.threshold:.3f}); of '
            f'held-out training images {found.threshold_rate:.1%} are called '
            'so'
        )
    if found.skipped:
        say(
            f'left out {len(found.skipped)} that cannot be read, first '
            f'{found.skipped[0]}'
        )
    for missing in found.missing:
        say(missing)


def _text(value: str) -> Text:
    # Bytes of a path that are no text can't be printed.
    return Text(str(value).encode('utf-8', 'backslashreplace').decode())
