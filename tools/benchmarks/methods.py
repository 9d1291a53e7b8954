#!/usr/bin/env python
"""Speed and memory of the methods, all in one setting on this machine.

Every config trains in a fresh process, one after the other, with its own
loop, hooks and data; only threads, batch size and workers are set alike.

python tools/benchmarks/methods.py --data digits --json bench.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _tables import MIB, machine, markdown, method_name, write_json
from mmengine.config import Config

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)
from ahpcl.cli.arguments import add_config_options

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
COLUMNS = dict(
    method=('method', ''),
    config=('config', ''),
    images_per_second=('images/s', '.1f'),
    ratio=('ratio', '.2f'),
    epoch_images_per_second=('images/s, whole epoch', '.1f'),
    epoch_ratio=('ratio', '.2f'),
    update_share=('E-step, %', '.1f'),
    peak_mib=('peak memory, MiB', '.0f'),
    base_mib=('of it libraries, MiB', '.0f'),
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description='Speed and memory of the methods.',
    )
    parser.add_argument(
        'configs',
        nargs='*',
        help='config files (default: AHPCL and all methods at --data)',
    )
    parser.add_argument(
        '--data',
        default='digits',
        help='a file of configs/_base_/scales, such as tin100 or minin',
    )
    parser.add_argument(
        '--reference',
        default='mocov2',
        help='method that the ratios refer to',
    )
    parser.add_argument('--warmup', type=int, default=10, help='iterations')
    parser.add_argument('--iterations', type=int, default=50)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument(
        '--batch-size', type=int, help='default: that of the reference'
    )
    parser.add_argument(
        '--workers', type=int, help='default: that of the reference'
    )
    parser.add_argument('--device', choices=('auto', 'cpu'), default='auto')
    parser.add_argument('--json', help='write the figures to this file, too')
    add_config_options(parser, data='--data-root')
    args = parser.parse_args(argv)
    for name, least in (('warmup', 0), ('iterations', 1), ('threads', 1)):
        if getattr(args, name) < least:
            parser.error(
                f'--{name}: expected at least {least}, got '
                f'{getattr(args, name)}'
            )
    return args


def choose(args: argparse.Namespace) -> tuple[list[Path], Path]:
    """The configs, and the one that the others are compared with.

    Raises:
        SystemExit: If there are none, or the reference is not among them.
    """
    chosen = [Path(name) for name in args.configs]
    if not chosen:
        baselines = sorted((CONFIGS / 'baselines').glob('*.py'))
        chosen = [
            CONFIGS / f'ahpcl_{args.data}.py',
            *(path for path in baselines if '_' not in path.stem),
        ]
    missing = [str(path) for path in chosen if not path.is_file()]
    if missing:
        raise SystemExit(f'expected config files, got {", ".join(missing)}')
    for path in chosen:
        if args.reference in (path.stem, method_name(path)):
            return chosen, path
    names = ', '.join(method_name(path) for path in chosen) or 'none'
    raise SystemExit(
        f'expected --reference to be one of the methods ({names}), got '
        f'{args.reference!r}'
    )


def settings_of(args: argparse.Namespace, reference: Path) -> dict[str, Any]:
    """The one setting of all configs."""
    if not args.configs:  # at a scale, whose loaders all methods have
        reference = CONFIGS / f'ahpcl_{args.data}.py'
    loader = Config.fromfile(reference).train_dataloader
    batch, workers = args.batch_size, args.workers
    return dict(
        scale=None if args.configs else args.data,
        warmup=args.warmup,
        iterations=args.iterations,
        threads=args.threads,
        batch_size=loader.batch_size if batch is None else batch,
        workers=loader.num_workers if workers is None else workers,
        options=args.cfg_options,
        data_root=args.data_root,
    )


def measure(path: Path, settings: dict[str, Any], device: str) -> dict:
    """The row of a config, from a process of its own.

    Raises:
        SystemExit: If it fails; with the end of what it said.
    """
    environment = dict(os.environ, OMP_NUM_THREADS=str(settings['threads']))
    if settings.get('scale') is not None:
        environment['AHPCL_SCALE'] = settings['scale']
    if device == 'cpu':
        environment['CUDA_VISIBLE_DEVICES'] = ''
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / 'given.json', Path(folder) / 'out.json'
        work_dir = str(Path(folder) / 'work')
        given.write_text(
            json.dumps(settings | dict(config=str(path), work_dir=work_dir))
        )
        worker = Path(__file__).with_name('_measure.py')
        done = subprocess.run(
            [sys.executable, str(worker), str(given), str(answer)],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode or not answer.is_file():
            raise SystemExit(f'{path} failed:\n{done.stderr[-3000:]}')
        result = json.loads(answer.read_text())
    return dict(method=method_name(path), config=path.stem, **result)


def add_ratios(rows: list[dict], reference: dict) -> None:
    """Add what the table shows beyond the measured, in place.

    Args:
        rows: All rows.
        reference: One of them.
    """
    for row in rows:
        for name, source in (
            ('ratio', 'images_per_second'),
            ('epoch_ratio', 'epoch_images_per_second'),
        ):
            row[name] = row[source] / reference[source]
        row['update_share'] = 100 * row['surrounding_share']
        row['peak_mib'] = row['peak_memory'] / MIB
        row['base_mib'] = row['base_memory'] / MIB


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures, prints and returns the report."""
    args = parse_args(argv)
    chosen, reference = choose(args)
    settings = settings_of(args, reference)
    rows = []
    for path in chosen:
        row = measure(path, settings, args.device)
        print(f'{path.stem}: {row["images_per_second"]:.1f} images/s')
        rows.append(row)
    add_ratios(rows, rows[chosen.index(reference)])
    report = dict(
        machine=machine() | dict(device=rows[0]['device']),
        settings=settings,
        reference=reference.stem,
        rows=rows,
    )
    table = markdown(rows, COLUMNS)
    hardware = report['machine']
    print(
        f'\n{hardware["device"]}, {hardware["cpu"]}, torch '
        f'{hardware["torch"]}, {settings["threads"]} thread(s), batches of '
        f'{settings["batch_size"]}, {settings["workers"]} worker(s), '
        f'{settings["iterations"]} iterations; ratios to {reference.stem}\n'
        f'\n{table}'
    )
    if args.json:
        write_json(args.json, report)
    return report


if __name__ == '__main__':
    main()
