#!/usr/bin/env python
"""Table of finished runs: kNN of the untrained and of the trained encoder.

python tools/benchmarks/compare_runs.py work_dirs/*_digits --out table
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _runs import read_run
from _tables import MIB, machine, markdown, method_name, write_json
from mmengine.config import Config

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)

TOOLS = Path(__file__).resolve().parents[1]
COLUMNS = dict(
    method=('method', ''),
    config=('config', ''),
    epochs=('epochs', 'd'),
    knn_untrained=('kNN untrained', '.2f'),
    knn_end=('kNN', '.2f'),
    images_per_second=('images/s', '.1f'),
    peak_mib=('peak memory, MiB', '.0f'),
    seconds=('seconds', '.0f'),
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description='Table of finished runs.')
    parser.add_argument('work_dirs', nargs='+', help='folders of runs')
    parser.add_argument(
        '--split',
        choices=('val', 'test'),
        default='val',
        help='kNN of the validation as logged, or of the test set, for which '
        'the last checkpoint is evaluated',
    )
    parser.add_argument(
        '--no-untrained',
        action='store_true',
        help='do not evaluate the untrained encoders',
    )
    parser.add_argument(
        '--benchmark',
        help='file of methods.py --json, whose images/s over a whole epoch '
        'and peak memory are shown instead of the logged ones',
    )
    parser.add_argument('--out', help='write OUT.md and OUT.json')
    return parser.parse_args(argv)


def evaluate(config: str, checkpoint: str | None, split: str) -> float:
    """The kNN of ``tools/test.py``, in percent.

    Args:
        config: File of the run.
        checkpoint: None for the untrained encoder.
        split: ``val`` or ``test``.

    Raises:
        SystemExit: If the tool fails or tells no kNN.
    """
    cfg = Config.fromfile(config)
    if split == 'val':  # which test.py takes where there is no test
        cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.resume, cfg.load_from = False, None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(config).name
        cfg.dump(file)
        command = [sys.executable, str(TOOLS / 'test.py'), str(file)]
        command += [checkpoint] if checkpoint else []
        command += ['--work-dir', str(Path(folder) / 'work')]
        done = subprocess.run(
            command,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            capture_output=True,
            text=True,
        )
    found = re.search(r'^knn/top1: ([\d.]+)$', done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise SystemExit(
            f'expected knn/top1 of {config}, got none:\n{done.stderr[-3000:]}'
        )
    return float(found[1])


def row_of(run: dict[str, Any], measured: dict | None) -> dict[str, Any]:
    """A row of the table, kNN of the untrained encoder apart.

    Args:
        run: As read.
        measured: The config's row of the benchmark, or None.
    """
    loader = Config.fromfile(run['config_file']).train_dataloader
    images = loader.batch_size * run['processes']
    speed, peak = images / run['seconds_per_iteration'], run['peak_memory']
    if measured is not None:
        speed = measured['epoch_images_per_second']
        peak = measured['peak_memory']
    return dict(
        method=method_name(run['config']),
        config=run['config'],
        epochs=run['epochs'],
        knn_untrained=None,
        knn_end=run['knn_end'],
        knn_by_epoch=run['knn'],
        images_per_second=speed,
        peak_memory=peak,
        peak_mib=None if peak is None else peak / MIB,
        seconds=run['seconds'],
    )


def read_benchmark(path: str | None) -> dict[str, dict]:
    """Rows of a benchmark by config."""
    if path is None:
        return {}
    rows = json.loads(Path(path).read_text())['rows']
    return {row['config']: row for row in rows}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Reads, evaluates, prints and returns the report."""
    args = parse_args(argv)
    benchmark = read_benchmark(args.benchmark)
    rows = []
    for name in args.work_dirs:
        try:
            run = read_run(Path(name))
        except ValueError as error:
            raise SystemExit(str(error)) from None
        row = row_of(run, benchmark.get(run['config']))
        if args.split == 'test':
            if run['checkpoint'] is None:
                raise SystemExit(f'expected a checkpoint in {name}, got none')
            row['knn_end'] = evaluate(
                run['config_file'], run['checkpoint'], 'test'
            )
        if not args.no_untrained:
            row['knn_untrained'] = evaluate(
                run['config_file'], None, args.split
            )
        rows.append(row)
    report = dict(machine=machine(), split=args.split, rows=rows)
    table = markdown(rows, COLUMNS)
    print(table)
    if args.out:
        write_json(f'{args.out}.json', report)
        Path(f'{args.out}.md').write_text(table + '\n')
    return report


if __name__ == '__main__':
    main()
