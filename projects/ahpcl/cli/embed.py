r"""Write the features of images.

  ahpcl embed runs/photos new/ --out new.parquet
  ahpcl embed runs/photos a.jpg b.jpg --out two.csv --space prototypes

The table has the columns path and feature, one row for every image: a column
for every number in a .csv, a list in a .parquet, an array (N, D) in an .npz.
"""

from __future__ import annotations

import argparse

import numpy as np

from ahpcl.cli.console import say
from ahpcl.evaluation.cluster_table import write_table

from .images import add_image_arguments, check_out, load_encoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    add_image_arguments(parser)
    parser.add_argument(
        '--out', required=True, help='file to write: .csv, .parquet or .npz'
    )
    parser.add_argument(
        '--space',
        default='features',
        choices=('features', 'prototypes'),
        help="pooled features, or the key encoder's projection, in which "
        'clusters live (default: features)',
    )


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    out = check_out(args.out)
    encoder = load_encoder(args)
    found = encoder.embed(
        args.images,
        space=args.space,
        batch_size=args.batch_size,
        on_unreadable='skip' if args.skip_unreadable else 'raise',
        return_names=True,
    )
    table = dict(
        path=np.array(found.names, dtype=np.str_), feature=found.features
    )
    write_table(table, out)
    number, width = found.features.shape
    left = f', {len(found.skipped)} left out' if found.skipped else ''
    say(f'wrote {out}: {number} images, {width} numbers each{left}')
    return 0
