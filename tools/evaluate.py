#!/usr/bin/env python
r"""Measure what a checkpoint learnt: features once, then all tasks on them.

  python tools/evaluate.py configs/ahpcl_digits.py \
      work_dirs/ahpcl_digits/epoch_30.pth --tasks knn linear fewshot cluster

Prints a table and writes <work dir>/evaluation/<checkpoint>_<split>.json,
after every task. Without a checkpoint it measures the untrained encoder.
Tasks: knn, linear, fewshot, cluster, health (the default); svm, semisup, which
take longer; or 'all'. `evaluation = dict(knn=[...])` in a config changes the
metrics of a task.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _threads  # noqa: F401  # isort: skip  (before torch)
from mmengine.config import Config
from rich.console import Console
from rich.table import Table

import ahpcl  # noqa: F401  (mends the host before it reads a config)
from _cli import add_common_arguments, prepare, say
from ahpcl.evaluation.evaluate import evaluate
from ahpcl.evaluation.run_data import UNTRAINED, RunData
from ahpcl.evaluation.tasks import TASKS

SCORES = ('nmi', 'ami', 'ari', 'hungarian', 'purity', 'silhouette')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config', help='config file, or ahpcl::NAME.py for a shipped one'
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint to measure; without one, the untrained encoder',
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
    add_common_arguments(parser)
    return parser.parse_args(argv)


def open_run(args: argparse.Namespace, cfg: Config) -> RunData:
    """The checkpoint and its images, as the arguments say."""
    if args.launcher != 'none':
        raise ValueError(
            f'expected --launcher none, got {args.launcher}: an evaluation '
            'runs in one process'
        )
    folder = (
        Path(args.checkpoint).parent if args.checkpoint else Path(cfg.work_dir)
    )
    return RunData(
        cfg,
        args.checkpoint,
        device=args.device,
        cache=None if args.no_cache else folder / 'features',
        evaluate_on=args.data or args.split,
    )


def result_file(args: argparse.Namespace, cfg: Config) -> Path:
    """Where the results go."""
    if args.json:
        return Path(args.json)
    stem = Path(args.checkpoint).stem if args.checkpoint else UNTRAINED
    folder = (
        Path(args.checkpoint).parent if args.checkpoint else Path(cfg.work_dir)
    )
    what = Path(args.data).name if args.data else args.split
    return folder / 'evaluation' / f'{stem}_{what}.json'


def metric_table(results: dict[str, Any]) -> Table:
    """Every metric, with its interval where it has one."""
    seen = results['seen_classes']
    title = f'{results["checkpoint"]}: {results["images"]} images'
    if results['classes']:
        title += (
            f', {results["queries"]} of them tested, {results["classes"]} '
            f'classes, {seen or "none"} of them among the training images'
        )
    table = Table(title=title, title_justify='left')
    table.add_column('metric')
    table.add_column('value', justify='right')
    metrics = results['metrics']
    for name, value in metrics.items():
        base = name.removesuffix('_ci95').removesuffix('_std')
        if base != name and base in metrics:
            continue  # shown beside it
        text = shown(value)
        if f'{name}_ci95' in metrics:
            text += f' +- {metrics[f"{name}_ci95"]:.2f}'
        elif f'{name}_std' in metrics:
            text += f' (std {metrics[f"{name}_std"]:.2f})'
        table.add_row(name, text)
    return table


def prototype_table(quality: dict[str, Any]) -> Table:
    """Every level of the hierarchy on the training images."""
    whose = 'prototypes of the last E-step'
    if not quality['own']:
        whose = 'a fresh k-means, as the checkpoint has no prototypes'
    table = Table(
        title=f'{whose}, on {quality["images"]} training images',
        title_justify='left',
    )
    scores = [
        name for name in SCORES if any(name in r for r in quality['levels'])
    ]
    columns = ('K', 'truth', *scores, 'sizes', 'empty', 'phi')
    for name in columns:
        table.add_column(name, justify='right')
    for row in quality['levels']:
        table.add_row(
            str(row['clusters']),
            row['truth'],
            *(shown(row.get(name)) for name in scores),
            f'{row["size_min"]} / {row["size_median"]:g} / {row["size_max"]}',
            str(row['empty']),
            f'{row["phi_min"]:.3f} - {row["phi_max"]:.3f}',
        )
    return table


def agreement_table(quality: dict[str, Any]) -> Table:
    """Every pair of levels."""
    table = Table(
        title='agreement of levels; nested: images in the cluster that most '
        'of their finer cluster are in, %',
        title_justify='left',
    )
    for name in ('K', 'with K', 'nmi', 'ami', 'ari', 'nested'):
        table.add_column(name, justify='right')
    counts = list(dict.fromkeys(r['clusters'] for r in quality['levels']))
    for row in quality['agreement']:
        table.add_row(
            str(counts[row['fine']]),
            str(counts[row['coarse']]),
            *(shown(row[name]) for name in ('nmi', 'ami', 'ari', 'nested')),
        )
    return table


def shown(value: Any) -> str:
    """Counts whole, small numbers to three places, percentages to two."""
    if not isinstance(value, float):
        return '-' if value is None else str(value)
    return f'{value:.3f}' if abs(value) <= 1.5 else f'{value:.2f}'


def write(results: dict[str, Any], path: Path) -> None:
    """Writes the results, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f'{path.name}.part')
    beside.write_text(json.dumps(results, indent=1) + '\n', 'utf-8')
    beside.replace(path)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Evaluates; prints and returns the results."""
    args = parse_args(argv)
    cfg = prepare(args)
    tasks = args.tasks
    if tasks and 'all' in tasks:
        tasks = list(TASKS)
    path = result_file(args, cfg)
    try:
        run = open_run(args, cfg)
        features = run.read_features(args.features) if args.features else None
        results = evaluate(
            run,
            tasks,
            features=features,
            save=lambda found: write(found, path),
            say=say,
        )
    except ValueError as error:
        raise SystemExit(f'error: {error}') from None
    # A file or a pipe has no width of its own.
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(metric_table(results))
    if 'prototypes' in results:
        console.print(prototype_table(results['prototypes']))
        console.print(agreement_table(results['prototypes']))
    say(f'wrote {path}')
    return results


if __name__ == '__main__':
    sys.exit(0 if main() else 1)
