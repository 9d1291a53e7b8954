#!/usr/bin/env python
"""Train for long, and see whether anything grows.

  python tools/reliability/soak.py --epochs 300

Trains the small run on the digits (384 images, 12 steps an epoch; E-steps,
the policy, checkpoints and validation as in any run, but for histories of
200 logged values, which are full after 17 epochs) and looks at its process
and the worker of its loader after every epoch: own memory, open files,
threads, seconds of the epoch. Prints the slope of each with its
95 % interval, from the means of ten parts of the run without its first fifth,
and whether it can be told from 0.

Exit code 1 if memory, files or threads grow.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import _paths  # noqa: F401  # isort: skip
import numpy as np
from _small_run import descendants, start, write_config
from scipy import stats

PARTS = 10
WARM_UP = 0.2
# What counts as growth over 100 epochs: more than what pages and timers do.
GROWTH = {'memory, MiB': 1.0, 'open files': 0.2, 'threads': 0.2}


def usage(pid: int) -> tuple[float, int, int]:
    """Memory (MiB), open files and threads of a process and its children.

    Memory that is the process's own: pages of files (libraries, images) come
    and go with what else the machine does.
    """
    memory, files, threads = 0.0, 0, 0
    for member in descendants(pid):
        folder = Path(f'/proc/{member}')
        try:
            rollup = (folder / 'smaps_rollup').read_text()
            files += len(list((folder / 'fd').iterdir()))
            threads += len(list((folder / 'task').iterdir()))
        except OSError:  # it has just ended
            continue
        memory += sum(
            int(line.split()[1]) / 1024
            for line in rollup.splitlines()
            if line.startswith(('Pss_Anon:', 'Pss_Shmem:', 'SwapPss:'))
        )
    return memory, files, threads


def watch(folder: Path, epochs: int) -> list[dict[str, float]]:
    """Train and look at every epoch.

    Raises:
        RuntimeError: If the training fails.
    """
    config = write_config(folder, 1, epochs, Path(__file__).name)
    moments = folder / 'moments.txt'
    process = start(config, folder / 'run', 1)
    rows: list[dict[str, float]] = []
    seen, before = 0, time.monotonic()
    while process.poll() is None:
        time.sleep(0.02)
        if not moments.exists():
            continue
        # The pointer to a checkpoint is written at every epoch's end, and
        # twice within.
        done = moments.read_bytes().count(b'end policy')
        if done > seen:
            now = time.monotonic()
            memory, files, threads = usage(process.pid)
            rows.append(
                {
                    'memory, MiB': memory,
                    'open files': files,
                    'threads': threads,
                    'seconds of an epoch': (now - before) / (done - seen),
                }
            )
            seen, before = done, now
    if process.returncode != 0:
        raise RuntimeError(f'the training failed: {folder / "output.txt"}')
    return rows


def slope(values: Sequence[float]) -> tuple[float, float]:
    """Slope per 100 epochs and half of its 95 % interval.

    Of the means of parts of the run: single epochs hang together.
    """
    parts = np.array_split(np.asarray(values, dtype=float), PARTS)
    centres = [
        float(np.mean(place))
        for place in np.array_split(np.arange(len(values)), PARTS)
    ]
    fit = stats.linregress(centres, [float(np.mean(p)) for p in parts])
    half = stats.t.ppf(0.975, PARTS - 2) * fit.stderr
    # No number where all are equal.
    return 100 * fit.slope, 100 * float(np.nan_to_num(half))


def main(argv: Sequence[str] | None = None) -> int:
    """Trains and prints the table.

    Returns:
        Exit status: 1 if something grows.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--epochs', type=int, default=300)
    parser.add_argument('--folder', help='kept; a temporary one if not given')
    parser.add_argument('--out', help='file for the numbers, JSON')
    args = parser.parse_args(argv)
    if args.epochs < 5 * PARTS:
        raise SystemExit(
            f'expected at least {5 * PARTS} epochs, got {args.epochs}'
        )
    folder = Path(args.folder or tempfile.mkdtemp(prefix='soak_')).resolve()
    rows = watch(folder, args.epochs)
    if args.out:
        Path(args.out).write_text(json.dumps(rows))
    kept = rows[int(WARM_UP * len(rows)) :]
    print(
        f'| of {len(rows)} epochs | first | last | per 100 epochs | 95 % | |'
    )
    print('|---' * 6 + '|')
    grows = False
    for name in rows[0]:
        values = [row[name] for row in kept]
        change, half = slope(values)
        verdict = 'flat'
        bound = GROWTH.get(name, 0.0)
        if 0 < change - half <= bound:
            verdict = f'grows; a failure from {bound:g}'
        if change - half > bound:
            verdict = 'grows'
            grows = grows or name in GROWTH
        elif change + half < 0:
            verdict = 'falls'
        print(
            f'| {name} | {values[0]:.2f} | {values[-1]:.2f} | {change:+.3f} | '
            f'± {half:.3f} | {verdict} |'
        )
    return int(grows)


if __name__ == '__main__':
    sys.exit(main())
