#!/usr/bin/env python
r"""What says without labels which images are in the right cluster?

  python tools/experiments/trust_signals.py cifar10_small/mocov2/1 \
      work_dirs/experiments/cifar10_small/mocov2/1/*/epoch_20.pth
  python tools/experiments/table.py   # then the tables of docs/results

Clusters the keys of a row's checkpoint by k-means at 1, 10 and 40 clusters per
class, and compares signals that trust images more or less with what labels
say: of the images of its cluster, the share of an image's own class. Adds the
row to docs/results/trust_signals.json, in place of the one that was there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import _paths  # noqa: F401  # isort: skip
import _threads  # noqa: F401  # isort: skip  (before torch)
import torch.nn.functional as F
from _plan import PLAN, read_plan
from _provenance import now, source
from _structure import PER_CLASS
from _trust import RESULTS, compare, read_results, table

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)
from ahpcl.evaluation.run_data import RunData
from ahpcl.utils.atomic_write import atomic_write


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('row', help='name of a row, whose config is read')
    parser.add_argument('checkpoint')
    parser.add_argument('--plan', default=str(PLAN))
    parser.add_argument('--out', default=str(RESULTS))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, writes and prints."""
    args = parse_args(argv)
    rows = {row.name: row for row in read_plan(args.plan).rows}
    if args.row not in rows:
        raise SystemExit(f'expected a row of {args.plan}, got {args.row!r}')
    run = RunData(rows[args.row].read(), args.checkpoint)
    if run.training.keys is None:
        raise SystemExit(
            f'expected a row with a key encoder, got {args.row!r}; take one '
            'of mocov2 or ahpcl'
        )
    labels = run.training.labels
    classes = len(labels.unique())
    counts = [k * classes for k in PER_CLASS if k * classes < len(labels)]
    found = dict(
        set=args.row,
        checkpoint=Path(args.checkpoint).name,
        images=len(labels),
        measured=now(),
        **source(),
        rows=compare(F.normalize(run.training.keys, dim=1), labels, counts),
    )
    out = Path(args.out)
    before = [own for own in read_results(out) if own['set'] != args.row]
    with atomic_write(out) as beside:
        text = json.dumps([*before, found], indent=1)
        beside.write_text(text + '\n', 'utf-8')
    print(table([found]))


if __name__ == '__main__':
    sys.exit(main())
