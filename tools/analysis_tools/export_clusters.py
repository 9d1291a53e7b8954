#!/usr/bin/env python
r"""Write what a run says of its training images as tables.

  python tools/analysis_tools/export_clusters.py configs/ahpcl_digits.py \
      work_dirs/ahpcl_digits/epoch_30.pth clusters --format csv parquet

  images.<format>           every image: path, label, and for every level
                            cluster, phi, distance to the prototype, parent
  prototypes_k<K>.<format>  every prototype: size, phi, parent, centroid
  features.<format>         pooled features, and keys in the prototypes' space

Images are assigned as by the last E-step, before the last epoch; distances
are of the features now. `tools/model_converters/export_prototypes.py` writes
the prototypes of any method without its images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, DictAction

import ahpcl  # noqa: F401  (mends the host before it reads a config)
from ahpcl.evaluation.cluster_table import (
    FORMATS,
    check_parquet,
    feature_table,
    image_table,
    prototype_table,
    write_table,
)
from ahpcl.evaluation.run_data import RunData

TABLES = ('images', 'prototypes', 'features')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config of the run')
    parser.add_argument('checkpoint', help='checkpoint that it wrote')
    parser.add_argument('out', help='folder to write to')
    parser.add_argument(
        '--format', nargs='+', choices=FORMATS, default=['csv']
    )
    parser.add_argument(
        '--tables', nargs='+', choices=TABLES, default=list(TABLES)
    )
    parser.add_argument('--device', help='such as cpu or cuda:1')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='as in train.py'
    )
    return parser.parse_args(argv)


def open_run(
    config: str,
    checkpoint: str,
    options: dict | None,
    device: str | None,
) -> RunData:
    """The run, with its features in its own folder.

    Raises:
        ValueError: If config or checkpoint cannot be used.
    """
    if not Path(config).is_file():
        raise ValueError(
            f'expected a config file, got {config}, which does not exist'
        )
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options or {})
    cache = Path(checkpoint).parent / 'features'
    return RunData(cfg, checkpoint, device=device, cache=cache)


def export(
    run: RunData, out: Path, forms: Sequence[str], tables: Sequence[str]
) -> list[Path]:
    """Writes the tables.

    Returns:
        The files.
    """
    if 'parquet' in forms:
        check_parquet()
    written = []
    levels = run.hierarchy.levels
    makers = {
        'images': {'images': lambda: image_table(run)},
        'prototypes': {
            f'prototypes_k{level.num_clusters}': (
                lambda place=place: prototype_table(run, place)
            )
            for place, level in enumerate(levels)
        },
        'features': {'features': lambda: feature_table(run)},
    }
    for kind in tables:
        for name, make in makers[kind].items():
            table = make()
            for form in forms:
                path = out / f'{name}.{form}'
                write_table(table, path)
                written.append(path)
                print(f'wrote {path}: {len(table)} columns', flush=True)
    return written


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Runs the command line; returns the files."""
    args = parse_args(argv)
    try:
        run = open_run(
            args.config, args.checkpoint, args.cfg_options, args.device
        )
        return export(run, Path(args.out), args.format, args.tables)
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f'error: {error}') from None


if __name__ == '__main__':
    sys.exit(0 if main() else 1)
