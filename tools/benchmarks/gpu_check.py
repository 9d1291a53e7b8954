#!/usr/bin/env python
"""Check and time everything on one CUDA device, in minutes that are given.

Four parts, each a process with a share of the minutes; what a part leaves
goes to those after it. Each keeps a JSON in --out, row by row. A part that
fails or takes too long does not stop the others.

  tests       the tests marked `gpu`
  clustering  1.28 M x 128 points, K = 25k, 50k, 100k: torch, flash, and PCL's
              recipe by brute force
  methods     five epochs of AHPCL and of every baseline in bfloat16
  step        the training step of ahpcl_minin.py against mmselfsup's

python tools/benchmarks/gpu_check.py --minutes 8
python tools/benchmarks/gpu_check.py --small --minutes 4     # without a GPU

It needs no network, and no data: images are rendered. In a copy without a
repository AHPCL_COMMIT names the commit. `tables.py` makes the page of the
JSONs.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from _part import OK, run_part
from _provenance import ROOT

#: Shares of the minutes.
PARTS = dict(tests=1.0, clustering=2.0, methods=2.0, step=3.0)
PAGES = ROOT / 'docs' / 'benchmarks' / 'gpu_check'
SMALL = ROOT / 'work_dirs' / 'gpu_check_small'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--minutes', type=float, default=8.0, help='for all parts together'
    )
    parser.add_argument(
        '--parts', nargs='+', choices=PARTS, default=list(PARTS)
    )
    parser.add_argument(
        '--data',
        help='mini-ImageNet in any of its layouts, for the step (default: '
        'rendered images)',
    )
    parser.add_argument(
        '--small',
        action='store_true',
        help='tiny sizes, on a CPU as well: whether everything runs',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help=f'folder of the JSONs (default: {PAGES.relative_to(ROOT)}; with '
        f'--small {SMALL.relative_to(ROOT)})',
    )
    args = parser.parse_args(argv)
    if not args.minutes > 0:
        parser.error(f'--minutes: expected more than 0, got {args.minutes:g}')
    if args.out is None:
        args.out = SMALL if args.small else PAGES
    return args


def check_device(small: bool) -> None:
    """Refuse to measure without a GPU.

    Raises:
        SystemExit: If there is no CUDA device and the sizes are not small.
    """
    if not small and not torch.cuda.is_available():
        raise SystemExit(
            f'expected a CUDA device, got none (torch {torch.__version__}, '
            f'built for CUDA {torch.version.cuda}); add --small to try the '
            'check on the CPU'
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts.

    Returns:
        Exit status: 1 if a part failed or took too long.
    """
    args = parse_args(argv)
    check_device(args.small)
    end = time.monotonic() + 60 * args.minutes
    ended = {}
    for number, name in enumerate(args.parts):
        weights = [PARTS[part] for part in args.parts[number:]]
        left = max(0.0, end - time.monotonic())
        budget = left * weights[0] / sum(weights)
        print(f'{name}: {budget:.0f} s at most', flush=True)
        path = args.out / f'{name}.json'
        ended[name] = run_part(_command(name, path, args), path, budget)
        print(_summary(name, ended[name]), flush=True)
    return int(any(found['status'] != OK for found in ended.values()))


def _command(name: str, path: Path, args: argparse.Namespace) -> list[str]:
    program = Path(__file__).with_name(f'_gpu_{name}.py')
    command = [str(program), '--json', str(path)]
    if args.small:
        command.append('--small')
    if args.data is not None:
        command += ['--data', args.data]
    return command


def _summary(name: str, content: dict[str, Any]) -> str:
    lines = [f'{name}: {content["status"]} after {content["seconds"]:.0f} s']
    lines += content['problems']
    if 'error' in content:
        lines.append(content['error'])
    return '\n  '.join(lines)


def _stop(number: int, _frame: object) -> NoReturn:
    """End as by an error, so that the part in progress is ended too."""
    raise SystemExit(128 + number)


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
