#!/usr/bin/env python
"""Are results still the same, bit for bit, after the code was changed?

  same_results.py record work_dirs/before     # at the old commit
  same_results.py record work_dirs/after      # at the new one, same machine
  same_results.py compare work_dirs/before work_dirs/after

Trains AHPCL on the digits for five epochs with seed 0 on one thread; again
from the checkpoint of its third epoch; in two gloo processes for two epochs;
and every other method for two epochs. `compare` looks at all that was logged
but seconds, and at the weights, the optimizer, the schedules and the
prototypes of the last checkpoints, and exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import _paths  # noqa: F401  # isort: skip
from _record import differences, differing_parts, read_record
from _small_run import ROOT, TRAIN

DIGITS = 'configs/ahpcl_digits.py'
METHODS = (
    *('pcl', 'pcl_v1', 'hcsc', 'mocov2', 'simclr', 'swav', 'deepcluster'),
    *('odc', 'sela', 'ahpcl_hcsc', 'ahpcl_multicrop', 'ahpcl_sinkhorn'),
    *('ahpcl_prototypes', 'ahpcl_symmetric'),
)
RUNS = ('ahpcl', 'resumed', 'ranks', *METHODS)
_EPOCHS, _RESUMED_FROM = 5, 3


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)
    record = commands.add_parser('record', help='train, into a folder')
    record.add_argument('folder')
    record.add_argument(
        '--only', nargs='+', choices=RUNS, default=RUNS, help='these runs'
    )
    compare = commands.add_parser('compare', help='look at two folders')
    compare.add_argument('before')
    compare.add_argument('after')
    return parser.parse_args(argv)


def command(name: str, folder: Path) -> list[str]:
    """The command that trains a run."""
    config, epochs = DIGITS, _EPOCHS
    start = [sys.executable, str(TRAIN)]
    if name == 'ranks':
        start = ['bash', str(ROOT / 'tools' / 'dist_train.sh')]
        epochs = 2
    elif name in METHODS:
        config, epochs = f'configs/baselines/{name}.py', 2
    return [
        *start,
        str(ROOT / config),
        *(['2'] if name == 'ranks' else []),
        *('--work-dir', str(folder / name)),
        *(['--resume'] if name == 'resumed' else []),
        '--cfg-options',
        f'train_cfg.max_epochs={epochs}',
        'default_hooks.checkpoint.interval=1',
        'default_hooks.checkpoint.max_keep_ckpts=10',
        'default_hooks.logger.interval=5',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'env_cfg.dist_cfg.backend=gloo',
    ]


def record(folder: Path, names: Sequence[str]) -> None:
    """Train the runs of these names into a folder.

    Raises:
        SystemExit: If one fails, with the end of what it said.
    """
    environment = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'AHPCL_SCALE': 'digits',
    }
    for name in names:
        own = folder / name
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        if name == 'resumed':
            checkpoint = f'epoch_{_RESUMED_FROM}.pth'
            shutil.copy(folder / 'ahpcl' / checkpoint, own)
        done = subprocess.run(
            command(name, folder),
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f'{name} failed:\n{done.stderr[-3000:]}')
        print(f'{name}: recorded', flush=True)


def last_checkpoint(folder: Path) -> Path:
    """The checkpoint of the most epochs."""
    return max(
        folder.glob('epoch_*.pth'), key=lambda p: int(p.stem.split('_')[1])
    )


def compare(before: Path, after: Path) -> int:
    """Print where two folders differ.

    Returns:
        Exit status: 1 if they do, or one of them lacks a run of the other.
    """
    names = {path.name for path in (*before.iterdir(), *after.iterdir())}
    wrong = 0
    for name in sorted(names):
        one, other = before / name, after / name
        if not one.is_dir() or not other.is_dir():
            found = [f'is missing in {after if one.is_dir() else before}']
        else:
            found = differences(read_record(one), read_record(other))[:5]
            found += [
                f'{part} of the last checkpoints are not equal'
                for part in differing_parts(
                    last_checkpoint(one), last_checkpoint(other)
                )
            ]
        wrong += bool(found)
        print(f'{name}: {"; ".join(found) or "the same"}', flush=True)
    return int(bool(wrong))


def main(argv: Sequence[str] | None = None) -> int:
    """Records or compares."""
    args = parse_args(argv)
    if args.command == 'record':
        record(Path(args.folder), args.only)
        return 0
    return compare(Path(args.before), Path(args.after))


if __name__ == '__main__':
    sys.exit(main())
