r"""Measure what a checkpoint learnt: features once, then all tasks on them.

  ahpcl evaluate runs/photos --data labelled/
  ahpcl evaluate configs/ahpcl_digits.py work_dirs/ahpcl_digits/epoch_30.pth \
      --tasks knn linear fewshot cluster

Prints tables and writes <folder>/evaluation/<checkpoint>_<split>.json, after
every task. The folder is --work-dir, else that of the checkpoint. Tasks that
an earlier evaluation of the same features measured stay in the file, where
'kept' names them. Without a checkpoint it measures the untrained encoder.
Tasks: knn, linear, fewshot, cluster, health (the default); count (how many
kinds are there?), svm, semisup, which take longer; or 'all'.
`evaluation = dict(knn=[...])` in a config changes the metrics of a task.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ahpcl.cli.arguments import add_common_arguments, prepare
from ahpcl.cli.console import say
from ahpcl.cli.evaluation_tables import print_tables
from ahpcl.cli.runs import find_run
from ahpcl.evaluation.evaluate import evaluate
from ahpcl.evaluation.run_data import UNTRAINED, RunData
from ahpcl.evaluation.tasks import TASKS
from ahpcl.utils.atomic_write import atomic_write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    parser.add_argument(
        'config',
        help='folder of a run, or a config file, or ahpcl::NAME.py for a '
        'shipped one',
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint to measure; without one, the last of the folder, '
        'with a config file the untrained encoder',
    )
    parser.add_argument(
        '--tasks', nargs='+', metavar='TASK', help=f'{", ".join(TASKS)} or all'
    )
    parser.add_argument(
        '--split',
        choices=('test', 'val'),
        default='test',
        help='images to measure on, by the config (default: test)',
    )
    parser.add_argument(
        '--data',
        metavar='FOLDER',
        help='measure on the images of this folder instead: one folder for '
        'every class; a fifth of each is tested',
    )
    parser.add_argument(
        '--features',
        metavar='FILE',
        help='take the features from this file of an earlier evaluation of '
        'the same weights and images',
    )
    parser.add_argument(
        '--no-cache',
        action='store_true',
        help='neither read nor write features',
    )
    parser.add_argument('--device', help='such as cpu or cuda:1')
    parser.add_argument('--json', help='file for the results')
    add_common_arguments(parser, data='--data-root')


def output_folder(args: argparse.Namespace, cfg: Config) -> Path:
    """Where features and results go: --work-dir, or beside the checkpoint."""
    remote = args.checkpoint and '://' in args.checkpoint
    if args.work_dir is None and args.checkpoint and not remote:
        return Path(args.checkpoint).parent
    return Path(cfg.work_dir)


def open_run(args: argparse.Namespace, cfg: Config) -> RunData:
    """The checkpoint and its images, as the arguments say."""
    if args.launcher != 'none':
        raise ValueError(
            f'expected --launcher none, got {args.launcher}: an evaluation '
            'runs in one process'
        )
    return RunData(
        cfg,
        args.checkpoint,
        device=args.device,
        cache=None if args.no_cache else output_folder(args, cfg) / 'features',
        evaluate_on=args.data or args.split,
    )


def result_file(args: argparse.Namespace, cfg: Config) -> Path:
    """Where the results go."""
    if args.json:
        return Path(args.json)
    stem = Path(args.checkpoint).stem if args.checkpoint else UNTRAINED
    what = Path(args.data).name if args.data else args.split
    return output_folder(args, cfg) / 'evaluation' / f'{stem}_{what}.json'


def read_results(path: Path) -> dict[str, Any]:
    """What an earlier evaluation wrote; nothing if there is none."""
    try:
        content = json.loads(path.read_text('utf-8'))
    except (OSError, ValueError):
        return {}
    parts = ('tasks', 'seconds', 'metrics')
    known = isinstance(content, dict) and all(
        isinstance(content.get(part), dict) for part in parts
    )
    return content if known else {}


def with_earlier(
    found: dict[str, Any], earlier: dict[str, Any]
) -> dict[str, Any]:
    """Results, and those of tasks that an earlier evaluation measured.

    Args:
        found: Results of this evaluation.
        earlier: As :func:`read_results` gave it. Nothing is kept of it if it
            is of other features.

    Returns:
        Both; ``kept`` names the earlier tasks.
    """
    kept = []
    if found['digest'] and earlier.get('digest') == found['digest']:
        kept = [
            task
            for task, names in earlier['tasks'].items()
            if task not in found['tasks']
            and earlier['metrics'].keys() >= set(names)
            and found['metrics'].keys().isdisjoint(names)
        ]
    merged = dict(found, kept=kept)
    names = [name for task in kept for name in earlier['tasks'][task]]
    for part, wanted in (
        ('tasks', kept),
        ('seconds', kept),
        ('metrics', names),
    ):
        old = {k: v for k, v in earlier.get(part, {}).items() if k in wanted}
        merged[part] = {**old, **found[part]}
    for task, part in (('cluster', 'prototypes'), ('count', 'kinds')):
        if task in kept and part in earlier:
            merged[part] = earlier[part]
    return merged


def write(results: dict[str, Any], path: Path) -> None:
    """Writes the results atomically."""
    with atomic_write(path) as beside:
        beside.write_text(json.dumps(results, indent=1) + '\n', 'utf-8')


def execute(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates; prints what it found, returns what the file holds."""
    find_run(args, untrained=True)
    cfg = prepare(args)
    tasks = args.tasks
    if tasks and 'all' in tasks:
        tasks = list(TASKS)
    path = result_file(args, cfg)
    earlier = read_results(path)
    try:
        run = open_run(args, cfg)
        features = run.read_features(args.features) if args.features else None
        found = evaluate(
            run,
            tasks,
            features=features,
            save=lambda found: write(with_earlier(found, earlier), path),
            say=say,
        )
    except (ValueError, OSError, FloatingPointError) as error:
        raise SystemExit(f'error: {error}') from None
    print_tables(found)
    results = with_earlier(found, earlier)
    say(f'wrote {path}')
    if results['kept']:
        say(
            'kept there, of an earlier evaluation of the same features: '
            f'{", ".join(results["kept"])}'
        )
    elif earlier and earlier.get('digest') != found['digest']:
        say(
            'replaced there: an earlier evaluation of other weights, images '
            'or transforms'
        )
    return results


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    execute(args)
    return 0
