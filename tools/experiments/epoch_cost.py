#!/usr/bin/env python
"""Measure what the E-step adds to the time of an epoch, and write it down.

python tools/experiments/epoch_cost.py cifar10 ahpcl

Trains a few epochs of a row with prototypes from the first on, on a machine
that does nothing else, and writes docs/results/epoch_cost.json: the seconds of
the E-steps over the seconds of the rest, which are of one process and one run.
Rows of the plan with `equal_time_with: VARIANT` buy epochs with it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import _paths  # noqa: F401  # isort: skip
import _threads  # noqa: F401  # isort: skip  (before torch)
import torch
from _plan import COSTS, PLAN, read_costs, read_plan
from _provenance import hardware, source
from row import curves_of, prepared, train

from ahpcl.utils.freed_memory import keep_freed_memory


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('scale')
    parser.add_argument('variant')
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--data-root', help="instead of the config's")
    parser.add_argument('--plan', default=str(PLAN))
    parser.add_argument('--out', default=str(COSTS))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes."""
    args = parse_args(argv)
    rows = [
        row
        for row in read_plan(args.plan).rows
        if (row.scale, row.variant) == (args.scale, args.variant)
    ]
    if not rows:
        raise SystemExit(
            f'expected a scale and a variant of {args.plan}, got '
            f'{args.scale} {args.variant}; tools/experiments/run.py --list '
            'shows them'
        )
    keep_freed_memory()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = prepared(rows[0], Path(folder), args.data_root)
        whole, warmup = config.train_cfg.max_epochs, 0
        for hook in config.custom_hooks:
            warmup = max(warmup, hook.get('warmup_epochs', 0))
            if 'warmup_epochs' in hook:
                hook.warmup_epochs = 0
        config.train_cfg.update(max_epochs=args.epochs, val_begin=10**6)
        _, budget = train(config)
        curves = curves_of(config)
    estep = sum(
        curves[f'estep_{part}_seconds'] for part in ('extract', 'cluster')
    )
    steps = budget['train_seconds'] - estep
    # One E-step before every epoch, and one at the end.
    per_estep = estep / (args.epochs + 1)
    share = per_estep * (whole - warmup + 1) / (steps * whole / args.epochs)
    costs = read_costs(args.out)
    costs.setdefault(args.scale, {})[args.variant] = dict(
        estep_over_steps=round(share, 4),
        epochs_measured=args.epochs,
        estep_seconds=round(estep, 2),
        step_seconds=round(steps, 2),
        hardware=hardware(1),
        **source(),
    )
    Path(args.out).write_text(json.dumps(costs, indent=1, sort_keys=True))
    print(
        f'{args.scale} {args.variant}: E-steps take {estep:.1f} s, the rest '
        f'{steps:.1f} s; over {whole} epochs of which {warmup} are warm-up '
        f'they add {100 * share:.1f} %'
    )


if __name__ == '__main__':
    main()
