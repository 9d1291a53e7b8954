#!/usr/bin/env python
"""Run the pending rows of the plan, as many as there is time for.

python tools/experiments/run.py --budget 1h            # on what is there
python tools/experiments/run.py --list                 # what is pending
python tools/experiments/run.py --scale digits --budget 20m

Rows run in the order of the plan. One that is finished is a line of the
ledger; one that was stopped, by the budget, by Ctrl-C or by a power cut, goes
on from its last checkpoint the next time. One of these runs per ledger; from a
second work tree at a fixed commit it writes to another with --ledger.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Sequence

import _paths  # noqa: F401  # isort: skip
from _ledger import LEDGER, newest, read_ledger
from _plan import PLAN, ROOT, plan_rows, read_plan
from _row_queue import Queue, say

WORK = ROOT / 'work_dirs' / 'experiments'
_UNITS = {'s': 1, 'm': 60, 'h': 3600}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--budget',
        type=seconds,
        default=seconds('1h'),
        help='such as 90s, 45m or 8h (default: 1h); no row is begun that '
        'would take longer, and what still runs then is stopped',
    )
    parser.add_argument(
        '--scale',
        nargs='+',
        help='protocols (default: gpu and gpu_classes where there is one, '
        'else cpu)',
    )
    parser.add_argument('--question', nargs='+', help='only these letters')
    parser.add_argument(
        '--this-device',
        action='store_true',
        help='rows that ran on another device alone are pending, too: '
        'pairs of one device round alike',
    )
    parser.add_argument('--jobs', type=int, help='rows at once')
    parser.add_argument(
        '--threads', type=int, default=1, help='of every row (default: 1)'
    )
    parser.add_argument('--list', action='store_true', help='show, run none')
    parser.add_argument(
        '--plan-rows',
        action='store_true',
        help='write the digests of rows that are new in the plan, run none: '
        'a row runs only with the config that it was planned with',
    )
    parser.add_argument(
        '--replan-rows',
        action='store_true',
        help='the same, and of pending rows whose config was changed',
    )
    parser.add_argument('--data-root', help="instead of the configs'")
    parser.add_argument('--plan', default=str(PLAN))
    parser.add_argument('--ledger', default=str(LEDGER))
    parser.add_argument('--work-dir', default=str(WORK))
    return parser.parse_args(argv)


def seconds(text: str) -> float:
    """Seconds of a text such as ``90s``, ``45m`` or ``1.5h``.

    Raises:
        argparse.ArgumentTypeError: If it is no such text.
    """
    found = re.fullmatch(r'(\d+(?:\.\d+)?)([smh])', text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(
            f'expected a time such as 90s, 45m or 1.5h, got {text!r}'
        )
    return float(found[1]) * _UNITS[found[2]]


def show(queue: Queue) -> None:
    """Prints what is pending, and for how long it would run."""
    rows, ledger = queue.pending(), read_ledger(queue.args.ledger)
    total: float | None = 0.0
    for row in rows:
        expected = queue.expected(row, ledger)
        if expected is None or total is None:
            total = None
        else:
            total += expected
        shown = 'unknown' if expected is None else f'{expected:.0f} s'
        say(f'{row.question}  {row.name}  {shown}')
    planned = {row.key for row in queue.plan.rows if row.scale in queue.scales}
    say(
        f'{len(rows)} of {len(planned)} rows of {" and ".join(queue.scales)} '
        f'are pending; {_duration(total, queue.jobs)}'
    )


def _duration(total: float | None, jobs: int) -> str:
    if total is None:
        return 'how long they take is not known yet'
    return f'about {total / 3600 / jobs:.1f} h with {jobs} at once'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the queue.

    Returns:
        Exit status: 0, or 1 if a row failed.
    """
    args = parse_args(argv)
    if args.plan_rows or args.replan_rows:
        counted = newest(
            read_ledger(args.ledger), read_plan(args.plan).superseded
        )
        finished = {entry['row'] for entry in counted.values()}
        for name in plan_rows(args.plan, finished, args.replan_rows):
            say(f'{name}: planned')
        return 0
    try:
        queue = Queue(read_plan(args.plan), args)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    if args.list:
        show(queue)
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        queue.run()
    except ValueError as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        say('stopped; the rows that ran go on where they were')
        return 130
    say(f'{len(queue.pending())} rows pending, {len(queue.failed)} failed')
    return 1 if queue.failed else 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == '__main__':
    sys.exit(main())
