#!/usr/bin/env python
r"""Show logged accuracies to a policy and see when it would have moved on.

Tunes ladder and policy in seconds, without a GPU and without training:

  python tools/analysis_tools/replay_policy.py work_dirs/ahpcl_digits
  python tools/analysis_tools/replay_policy.py work_dirs/ahpcl_digits \
      --policy SlidingWindowPolicy length=5 threshold=0.02 max_epochs=8 \
      --ladder 200 100 50 25 --window 3

The log is a work folder, a scalars.json or a CSV with the columns epoch (from
1), acc_inst, acc_proto and perhaps agreement. Ladder and policy are those of
the config (of the work folder, if it has one) unless given. From the first
decision on that differs from the logged one the accuracies are those of other
rungs than the replay's: what follows is a guess.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.registry import TASK_UTILS, init_default_scope
from rich.console import Console
from rich.table import Table

import ahpcl  # noqa: F401  (mends the host before it reads a config)
from ahpcl.core import ClusterLadder
from ahpcl.engine import build_ladder
from ahpcl.visualization.run_log import RunLog

UNBOUNDED = 1 << 60
COLUMNS = ('epoch', 'acc_inst', 'acc_proto', 'agreement')


@dataclass(frozen=True)
class Signals:
    """What was logged of an epoch.

    Args:
        epoch: From 1.
        acc_inst: Percent.
        acc_proto: Percent.
        agreement: Of successive E-steps, or None.
        action: That was logged, or None.
    """

    epoch: int
    acc_inst: float
    acc_proto: float
    agreement: float | None = None
    action: str | None = None


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('log', help='work folder, scalars.json or CSV')
    parser.add_argument('--config', help='whose ladder and policy to take')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='as in train.py'
    )
    parser.add_argument(
        '--policy',
        nargs='+',
        metavar='TYPE KEY=VALUE',
        help='another policy: its type, then its settings',
    )
    parser.add_argument(
        '--ladder', nargs='+', type=int, metavar='K', help='other rungs'
    )
    parser.add_argument('--window', type=int, help='of that ladder')
    parser.add_argument(
        '--num-images', type=int, help='for an AutoLadder of the config'
    )
    parser.add_argument('--json', help='file for the decisions')
    return parser.parse_args(argv)


def read_signals(path: str) -> list[Signals]:
    """Reads the epochs that have prototypes.

    Args:
        path: Work folder, scalars.json or CSV.

    Raises:
        ValueError: If there are none.
    """
    if Path(path).suffix == '.csv':
        signals = _read_csv(Path(path))
    else:
        signals = [
            Signals(
                row.epoch,
                row.values['epoch/acc_inst'],
                row.values['epoch/acc_proto'],
                row.values.get('policy/agreement'),
                row.action,
            )
            for row in RunLog(path).epochs
            if 'epoch/acc_proto' in row.values
        ]
    if not signals:
        raise ValueError(
            f'expected epochs with acc_proto in {path}, got none: the run is '
            'of another method or ended in the warm-up'
        )
    return signals


def _read_csv(path: Path) -> list[Signals]:
    if not path.is_file():
        raise ValueError(f'expected a log, got {path}, which does not exist')
    with path.open(newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        missing = set(COLUMNS[:3]) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(
                f'expected the columns {", ".join(COLUMNS[:3])} in {path}, '
                f'got none named {", ".join(sorted(missing))}'
            )
        signals = []
        for row in reader:
            try:
                agreement = row.get('agreement') or None
                signals.append(
                    Signals(
                        int(row['epoch']),
                        float(row['acc_inst']),
                        float(row['acc_proto']),
                        None if agreement is None else float(agreement),
                    )
                )
            except (TypeError, ValueError):
                raise ValueError(
                    f'expected numbers in line {reader.line_num} of {path}, '
                    f'got {row}'
                ) from None
    return signals


def find_hook(args: argparse.Namespace) -> dict[str, Any]:
    """Settings of the AdaptiveClusterHook, where there is a config.

    Raises:
        ValueError: If there is none and the arguments do not say all.
    """
    path = args.config
    if path is None and Path(args.log).is_dir():
        found = sorted(
            Path(args.log).glob('*.py'), key=lambda p: p.stat().st_mtime
        )
        path = found[-1] if found else None
    if path is None:
        if args.policy and args.ladder:
            return {}
        raise ValueError(
            f'expected a config with a ladder and a policy, got none beside '
            f'{args.log}; give --config, or both --policy and --ladder'
        )
    if not Path(path).is_file():
        raise ValueError(
            f'expected a config file, got {path}, which does not exist'
        )
    config = Config.fromfile(path)
    config.merge_from_dict(args.cfg_options or {})
    init_default_scope(config.get('default_scope', 'mmselfsup'))
    for hook in config.get('custom_hooks') or []:
        if hook.type == 'AdaptiveClusterHook':
            return dict(hook)
    if args.policy and args.ladder:
        return {}
    raise ValueError(
        f'expected a config with an AdaptiveClusterHook, got {path} without; '
        'give --policy and --ladder'
    )


def make_policy(args: argparse.Namespace, hook: dict[str, Any]) -> Any:
    """The policy of the arguments, else of the config.

    Raises:
        ValueError: If a setting is wrong or there is no policy.
    """
    settings = hook.get('policy')
    if args.policy:
        settings = {'type': args.policy[0]}
        for item in args.policy[1:]:
            key, equals, value = item.partition('=')
            if not equals:
                raise ValueError(
                    f'expected settings of a policy as KEY=VALUE, got {item}'
                )
            try:
                settings[key] = ast.literal_eval(value)
            except (SyntaxError, ValueError):
                settings[key] = value
    if settings is None:
        raise ValueError(
            'expected a policy, got a config whose ladder never moves; give '
            '--policy'
        )
    try:
        return TASK_UTILS.build(dict(settings))
    except (TypeError, KeyError) as error:
        raise ValueError(f'expected a policy, got {settings}: {error}') from (
            error
        )


def make_ladder(
    args: argparse.Namespace, hook: dict[str, Any]
) -> ClusterLadder:
    """The ladder of the arguments, else of the config.

    Raises:
        ValueError: If it cannot be built.
    """
    settings = dict(hook.get('ladder') or {})
    if args.ladder:
        window = args.window or settings.get('window', 3)
        return ClusterLadder(args.ladder, window=window)
    if args.window:
        settings['window'] = args.window
    if settings.get('type') == 'AutoLadder' and not args.num_images:
        raise ValueError(
            'expected --num-images for an AutoLadder, whose rungs follow '
            'from it, got none'
        )
    return build_ladder(settings, args.num_images or UNBOUNDED)


def replay(
    signals: Sequence[Signals], policy: Any, ladder: ClusterLadder
) -> list[dict[str, Any]]:
    """Shows the signals to a policy, epoch by epoch.

    Args:
        signals: In order.
        policy: Is changed.
        ladder: Is changed.

    Returns:
        A row for every epoch: the rungs in use, the decision, its reason,
        the logged one and whether they differ.
    """
    rows = []
    for row in signals:
        rungs = ladder.current
        decision = policy.step(
            row.acc_inst,
            row.acc_proto,
            row.epoch - 1,
            rungs=rungs,
            agreement=row.agreement,
        )
        if decision.action == 'advance':
            ladder.advance()
        rows.append(
            dict(
                epoch=row.epoch,
                rungs=list(rungs),
                acc_inst=row.acc_inst,
                acc_proto=row.acc_proto,
                action=decision.action,
                reason=decision.reason,
                logged=row.action,
                differs=row.action not in (None, decision.action),
            )
        )
    return rows


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows, for a person."""
    table = Table()
    for name in ('epoch', 'K in use', 'acc_inst', 'acc_proto'):
        table.add_column(name, justify='right')
    for name in ('decision', 'reason', 'logged'):
        table.add_column(name)
    for row in rows:
        table.add_row(
            str(row['epoch']),
            ', '.join(map(str, row['rungs'])),
            f'{row["acc_inst"]:.2f}',
            f'{row["acc_proto"]:.2f}',
            row['action'],
            row['reason'],
            (row['logged'] or '-') + (' (differs)' if row['differs'] else ''),
        )
    return table


def verdict(rows: Sequence[dict[str, Any]]) -> str:
    """One line: as logged, or from where on it is a guess."""
    moves = [row['epoch'] for row in rows if row['action'] == 'advance']
    line = f'advances after epochs {", ".join(map(str, moves)) or "none"}'
    if all(row['logged'] is None for row in rows):
        return f'{line}; the log holds no decisions to compare with'
    apart = [row['epoch'] for row in rows if row['differs']]
    if not apart:
        return f'{line}; all {len(rows)} decisions as logged'
    return (
        f'{line}; {len(apart)} of {len(rows)} decisions differ, the first '
        f'after epoch {apart[0]}: what follows was measured at other rungs '
        'than these, so it is a guess'
    )


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Replays; prints and returns the rows."""
    args = parse_args(argv)
    try:
        signals = read_signals(args.log)
        hook = find_hook(args)
        policy, ladder = make_policy(args, hook), make_ladder(args, hook)
        rows = replay(signals, policy, ladder)
    except ValueError as error:
        raise SystemExit(f'error: {error}') from None
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table_of(rows))
    print(verdict(rows))
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(rows, indent=1) + '\n', 'utf-8')
    return rows


if __name__ == '__main__':
    sys.exit(0 if main() else 1)
