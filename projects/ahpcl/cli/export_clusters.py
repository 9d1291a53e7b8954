r"""Write what a run says of its training images as tables.

  python tools/analysis_tools/export_clusters.py configs/ahpcl_digits.py \
      work_dirs/ahpcl_digits/epoch_30.pth clusters --format csv parquet

  images.<format>           every image: path, label, and for every level
                            cluster, phi, distance to the prototype, parent
  prototypes_k<K>.<format>  every prototype: size, phi, parent, centroid
  features.<format>         pooled features, and keys in the prototypes' space

Images are assigned as by the last E-step, of the last weights; distances
are of the features now. A checkpoint without prototypes (another method, the
warm-up) is refused, or grouped by a k-means of its features with --fresh.
`tools/model_converters/export_prototypes.py` writes the prototypes of any
method without its images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from ahpcl.cli.console import say
from ahpcl.cli.runs import add_run_arguments, open_run
from ahpcl.evaluation.cluster_table import (
    FORMATS,
    Table,
    check_parquet,
    feature_table,
    image_table,
    prototype_table,
    write_table,
)
from ahpcl.evaluation.run_data import RunData

TABLES = ('images', 'prototypes', 'features')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    add_run_arguments(parser)
    parser.add_argument('out', help='folder to write to')
    parser.add_argument(
        '--format', nargs='+', choices=FORMATS, default=['csv']
    )
    parser.add_argument(
        '--tables', nargs='+', choices=TABLES, default=list(TABLES)
    )
    parser.add_argument(
        '--fresh',
        action='store_true',
        help='group a checkpoint without prototypes by a fresh k-means',
    )


def check_prototypes(run: RunData) -> None:
    """Refuses a checkpoint without prototypes, before any extraction.

    Raises:
        ValueError: If it has none that belong to the model of the config.
    """
    if run.own_prototypes:
        return
    state = run.content.get('ahpcl') or {}
    why = 'none: it is of another method, or of the warm-up'
    if state.get('hierarchy') is not None:
        kind = type(run.model).__name__
        why = f'some that are not of the {kind} of the config: give its own'
    raise ValueError(
        f'expected prototypes in {run.name}, got {why}; --tables features '
        'needs none, and --fresh groups the features again'
    )


def export(
    run: RunData, out: Path, forms: Sequence[str], tables: Sequence[str]
) -> list[Path]:
    """Writes the tables.

    Returns:
        The files.
    """
    written = []
    for kind in tables:
        for name, table in MAKERS[kind](run):
            for form in forms:
                path = out / f'{name}.{form}'
                write_table(table, path)
                written.append(path)
                say(f'wrote {path}: {len(table)} columns')
    return written


def prototype_tables(run: RunData) -> Iterator[tuple[str, Table]]:
    """Name and table of every level."""
    for place, level in enumerate(run.hierarchy.levels):
        name = f'prototypes_k{level.num_clusters}'
        yield name, prototype_table(run, place)


MAKERS = {
    'images': lambda run: [('images', image_table(run))],
    'prototypes': prototype_tables,
    'features': lambda run: [('features', feature_table(run))],
}


def execute(args: argparse.Namespace) -> list[Path]:
    """Runs the command line; returns the files."""
    try:
        if 'parquet' in args.format:
            check_parquet()
        run = open_run(args)
        if not args.fresh and set(args.tables) != {'features'}:
            check_prototypes(run)
        return export(run, Path(args.out), args.format, args.tables)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        raise SystemExit(f'error: {error}') from None


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    execute(args)
    return 0
