r"""Show logged accuracies to a policy and see when it would have moved on.

Tunes ladder and policy in seconds, without a GPU and without training:

  python tools/analysis_tools/replay_policy.py work_dirs/ahpcl_digits
  python tools/analysis_tools/replay_policy.py work_dirs/ahpcl_digits \
      --policy type=SlidingWindowPolicy,length=5,threshold=0.02,max_epochs=8 \
      --ladder 200,100,50,25 --window 3

The log is a work folder, a scalars.json or a CSV with the columns epoch (from
1), acc_inst, acc_proto and perhaps agreement. Ladder, policy and warm-up are
those of the config (of the work folder, if it has one) unless given; blanks
do instead of commas, and a value is written as in Python:
max_epochs=[(2,5),(50,10)]. From the first
decision on that differs from the logged one the accuracies are those of other
rungs than the replay's: what follows is a guess.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import TASK_UTILS, init_default_scope
from rich.console import Console
from rich.table import Table

from ahpcl.cli.arguments import add_config_options, apply_options, read_config
from ahpcl.cli.console import say
from ahpcl.compat.frameworks import scope_of
from ahpcl.core import ClusterLadder
from ahpcl.engine import build_ladder
from ahpcl.utils.atomic_write import atomic_write
from ahpcl.visualization.policy_signals import Signals, read_signals
from ahpcl.visualization.report_files import find_config

UNBOUNDED = 1 << 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    parser.add_argument('log', help='work folder, scalars.json or CSV')
    parser.add_argument('--config', help='whose ladder and policy to take')
    add_config_options(parser)
    parser.add_argument(
        '--policy',
        nargs='+',
        metavar='type=TYPE,KEY=VALUE',
        help='another policy: its type, then its settings',
    )
    parser.add_argument(
        '--ladder', nargs='+', metavar='K,K', help='other rungs, in order'
    )
    parser.add_argument('--window', type=int, help='of that ladder')
    parser.add_argument(
        '--num-images', type=int, help='for an AutoLadder of the config'
    )
    parser.add_argument('--json', help='file for the decisions')


def find_hook(args: argparse.Namespace) -> dict[str, Any]:
    """Settings of the AdaptiveClusterHook, where there is a config.

    Raises:
        ValueError: If there is none and the arguments do not say all.
    """
    path = args.config
    if path is None and any(Path(args.log).glob('*.py')):
        path = find_config(args.log)
    if path is None:
        if args.policy and args.ladder:
            return {}
        raise ValueError(
            f'expected a config with a ladder and a policy, got none beside '
            f'{args.log}; give --config, or both --policy and --ladder'
        )
    config = read_config(str(path))
    apply_options(config, args.cfg_options, args.data_root)
    init_default_scope(scope_of(config))
    for hook in config.get('custom_hooks') or []:
        if hook.type == 'AdaptiveClusterHook':
            return dict(hook)
    if args.policy and args.ladder:
        return {}
    raise ValueError(
        f'expected a config with an AdaptiveClusterHook, got {path} without; '
        'give --policy and --ladder'
    )


def policy_settings(items: Sequence[str]) -> dict[str, Any]:
    """Reads ``type=X,length=3``, also apart by blanks, also without type=.

    Raises:
        ValueError: If an item is of another form.
    """
    # A comma before KEY= parts settings, others belong to a value.
    parts = [p for item in items for p in re.split(r',\s*(?=\w+=)', item)]
    if '=' not in parts[0]:
        parts[0] = f'type={parts[0]}'
    settings = {}
    for part in parts:
        key, equals, value = part.partition('=')
        if not equals or not key.isidentifier() or not value:
            raise ValueError(
                f'expected settings of a policy as KEY=VALUE, got {part}'
            )
        try:
            settings[key] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            settings[key] = value
    return settings


def rungs_of(items: Sequence[str]) -> list[int]:
    """Reads ``200,100,50``, also apart by blanks.

    Raises:
        ValueError: If one is no whole number.
    """
    try:
        return [int(k) for item in items for k in item.split(',') if k]
    except ValueError:
        raise ValueError(
            'expected rungs as whole numbers apart by commas for --ladder, '
            f'got {" ".join(items)}'
        ) from None


def make_policy(args: argparse.Namespace, hook: dict[str, Any]) -> Any:
    """The policy of the arguments, else of the config.

    Raises:
        ValueError: If a setting is wrong or there is no policy.
    """
    settings = hook.get('policy')
    if args.policy:
        settings = policy_settings(args.policy)
    if settings is None:
        raise ValueError(
            'expected a policy, got a config whose ladder never moves; give '
            '--policy'
        )
    try:
        return TASK_UTILS.build(dict(settings))
    except (TypeError, KeyError) as error:
        said = str(error.args[0]).splitlines()[0]
        raise ValueError(
            f'expected a policy with its settings, got {settings}: {said}'
        ) from error


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
        return ClusterLadder(rungs_of(args.ladder), window=window)
    if args.window:
        settings['window'] = args.window
    if settings.get('type') == 'AutoLadder' and not args.num_images:
        raise ValueError(
            'expected --num-images for an AutoLadder, whose rungs follow '
            'from it, got none'
        )
    return build_ladder(settings, args.num_images or UNBOUNDED)


def after_warmup(
    signals: Sequence[Signals], hook: dict[str, Any]
) -> list[Signals]:
    """Epochs in which a policy would have been asked.

    Raises:
        ValueError: If there are none.
    """
    warmup = hook.get('warmup_epochs', 0)
    asked = [row for row in signals if row.epoch > warmup]
    if not asked:
        raise ValueError(
            f'expected epochs after the warm-up of {warmup}, got none'
        )
    return asked


def replay(
    signals: Sequence[Signals], policy: Any, ladder: ClusterLadder
) -> list[dict[str, Any]]:
    """Shows the signals to a policy, epoch by epoch.

    Args:
        signals: Signals of the epochs, in order.
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


def execute(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Replays; prints and returns the rows."""
    try:
        hook = find_hook(args)
        signals = after_warmup(read_signals(args.log), hook)
        policy, ladder = make_policy(args, hook), make_ladder(args, hook)
        rows = replay(signals, policy, ladder)
    except ValueError as error:
        raise SystemExit(f'error: {error}') from None
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table_of(rows))
    say(verdict(rows))
    if args.json:
        with atomic_write(args.json) as beside:
            beside.write_text(json.dumps(rows, indent=1) + '\n', 'utf-8')
    return rows


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    execute(args)
    return 0
