#!/usr/bin/env python
"""Run one row of the plan: train, measure, write one JSON file.

The queue (run.py) starts this; by hand it repeats a row without the ledger.
A row that was stopped goes on from its last checkpoint.

python tools/experiments/row.py cpu/ahpcl/0 --out result.json
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _paths  # noqa: F401  # isort: skip
import _threads  # noqa: F401  # isort: skip  (before torch)
import _oracle  # noqa: F401  # isort: skip  (registers its clusters)
import torch
from _cost import cost_of
from _fork import forked
from _ledger import LEDGER, read_ledger
from _plan import PLAN, ROOT, Plan, Row, read_plan
from _provenance import hardware, now, source
from _replay import replayed
from _structure import structure
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)
from ahpcl.evaluation.evaluate import evaluate
from ahpcl.evaluation.run_data import RunData
from ahpcl.runtime.checkpoint_files import good_checkpoint
from ahpcl.utils.atomic_write import atomic_write
from ahpcl.utils.freed_memory import keep_freed_memory
from ahpcl.visualization.run_log import RunLog

WORK = ROOT / 'work_dirs' / 'experiments'
CURVES = ('knn/top1', 'loss_inst', 'loss_proto', 'acc_inst', 'acc_proto')
LEVEL = ('clusters', 'nmi', 'pair_precision', 'size_median')
TASKS = ('knn', 'linear', 'cluster', 'health')
# Every row is measured on held-out images alone, too, whatever its protocol.
HELD_OUT = dict(
    held_out=[dict(type='ClusterMetric', fit='reference', prefix='held_out')],
    one_label=[
        dict(
            type='FewShotMetric',
            ways=None,
            shots=1,
            queries=None,
            episodes=500,
            prefix='one_label',
        )
    ],
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('row', help='name of a row, see run.py --list')
    parser.add_argument('--out', required=True, help='file for the result')
    parser.add_argument('--plan', default=str(PLAN))
    parser.add_argument('--ledger', default=str(LEDGER), help='only read')
    parser.add_argument('--work-dir', default=str(WORK))
    parser.add_argument('--data-root', help="instead of the config's")
    parser.add_argument('--threads', type=int, default=1, help='of a CPU')
    return parser.parse_args(argv)


def prepared(row: Row, work_dir: Path, data_root: str | None) -> Config:
    """The config as this tool runs it: it resumes, and counts its cost."""
    config = row.read()
    if data_root is not None:
        _set_data_root(config._cfg_dict, config.data_root, data_root)
    config.work_dir = str(work_dir / row.name / row.digest())
    config.visualizer = ConfigDict(
        type='SelfSupVisualizer',
        vis_backends=[dict(type='LocalVisBackend')],
    )
    config.default_hooks.checkpoint = ConfigDict(
        type='AtomicCheckpointHook', interval=5, max_keep_ckpts=1
    )
    config.custom_hooks = [
        *config.get('custom_hooks', []),
        ConfigDict(type='CostHook'),
    ]
    found = good_checkpoint(config.work_dir)
    config.resume = found is not None
    config.load_from = None if found is None else str(found)
    return config


def _set_data_root(node: Any, known: str, data_root: str) -> None:
    """Put another folder wherever a dataset names the config's."""
    if isinstance(node, dict):
        if 'data_root' in node:
            inside = node['data_root'].removeprefix(known)
            node['data_root'] = str(Path(data_root) / inside)
        node = list(node.values())
    if isinstance(node, list | tuple):
        for part in node:
            _set_data_root(part, known, data_root)


def train(config: Config) -> tuple[Path, dict[str, Any]]:
    """Train to the end: the last checkpoint, and what it cost."""
    runner = Runner.from_cfg(copy.deepcopy(config))
    parameters = sum(p.numel() for p in runner.model.backbone.parameters())
    if config.train_cfg.max_epochs:
        runner.train()
    cost = cost_of(runner)
    dataset = runner.train_dataloader.dataset
    cost.update(
        epochs=runner.epoch,
        images=len(dataset),
        steps=runner.iter,
        backbone_parameters=parameters,
    )
    return good_checkpoint(config.work_dir), cost


def curves_of(config: Config) -> dict[str, Any]:
    """What was logged, by epoch: curves, rungs, decisions, E-steps."""
    log = RunLog(config.work_dir)
    names = [
        name
        for name in log.scalars
        if name in CURVES or name.startswith('acc_proto_k')
    ]
    ends = [row.epoch for row in log.epochs]
    found: dict[str, Any] = {}
    for name in names:
        series = log.series(name)
        if name not in log.by_epoch:  # the mean of every epoch
            series = [
                (float(end), sum(part) / len(part))
                for end in ends
                if (part := [v for e, v in series if end - 1 < e <= end])
            ]
        found[name] = [[epoch, round(value, 4)] for epoch, value in series]
    before = [[]] * (ends[0] - 1 if ends else 0)  # of a fork's parent
    found['rungs'] = [*before, *(list(row.rungs) for row in log.epochs)]
    found['decisions'] = [
        [row.epoch, row.action] for row in log.epochs if row.action
    ]
    for part in ('extract', 'cluster'):
        values = [v for _, v in log.series(f'estep/seconds_{part}')]
        found[f'estep_{part}_seconds'] = round(sum(values), 3)
    return found


def measure(config: Config, checkpoint: Path | None, part: str) -> dict:
    """Metrics on one part, and what a checkpoint's own prototypes are worth.

    Few-shot is of the classes that the protocol has for it, if it has any.
    """
    config = copy.deepcopy(config)
    tasks = [*TASKS, *HELD_OUT]
    if 'fewshot' in config.evaluation and 'fewshot_dataloader' not in config:
        tasks.append('fewshot')
    config.evaluation.update(copy.deepcopy(HELD_OUT))
    run = RunData(config, checkpoint, evaluate_on=part)
    seen = evaluate(run, tasks)
    metrics = dict(seen['metrics'])
    classes = seen['classes']
    # One name for every number of classes.
    metrics['one_label/top1'] = metrics.pop(f'one_label/{classes}way_1shot')
    del metrics[f'one_label/{classes}way_1shot_ci95']
    found: dict[str, Any] = dict(metrics=metrics, structure=structure(run))
    if seen['prototypes']['own']:
        levels = seen['prototypes']['levels']
        nested = len({level['truth'] for level in levels}) > 1
        kept = (*LEVEL, 'truth') if nested else LEVEL
        found['prototypes'] = [
            {name: level[name] for name in kept} for level in levels
        ]
    if 'fewshot_dataloader' not in config:
        return found
    unseen = copy.deepcopy(config)
    for name in ('val_dataloader', 'test_dataloader'):
        unseen[name] = unseen.fewshot_dataloader[part]
    run = RunData(unseen, checkpoint, evaluate_on=part)
    few = evaluate(run, ['fewshot'])
    metrics.update(few['metrics'])
    return found


def run_row(row: Row, plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one row.

    Returns:
        The entry of the ledger.
    """

    def prepare(row: Row, work_dir: Path) -> Config:
        return prepared(row, work_dir, args.data_root)

    config = prepare(row, Path(args.work_dir))
    if row.start_from is not None and not config.resume:
        parent = row.parent(plan.rows)
        fork = forked(row, parent, Path(args.work_dir), prepare)
        config.custom_hooks.append(fork)
    replayed(row, config, plan, read_ledger(args.ledger))
    entry: dict[str, Any] = dict(
        row=row.name,
        scale=row.scale,
        variant=row.variant,
        config=row.config,
        options=dict(row.options),
        seed=row.seed,
        part=row.part,
        digest=row.digest(),
        resumed=bool(config.resume),
        hardware=hardware(args.threads),
        **source(),
    )
    if 'replay' in config:
        entry['replayed'] = config.custom_hooks[0].policy.epochs
    checkpoint: Path | None = None
    if config.train_cfg.max_epochs:
        checkpoint, entry['budget'] = train(config)
        entry['curves'] = curves_of(config)
    else:
        entry['budget'] = dict(epochs=0, train_seconds=0.0)
        entry['curves'] = {}
    start = time.perf_counter()
    torch.manual_seed(row.seed)
    entry.update(measure(config, checkpoint, row.part))
    entry['budget']['evaluation_seconds'] = time.perf_counter() - start
    entry['finished'] = now()
    return entry


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the row."""
    args = parse_args(argv)
    plan = read_plan(args.plan)
    rows = {row.name: row for row in plan.rows}
    if args.row not in rows:
        raise SystemExit(
            f'expected a row of {args.plan}, got {args.row!r}; '
            'tools/experiments/run.py --list shows them'
        )
    if rows[args.row].config in plan.ended:
        raise SystemExit(
            f'expected a row whose code is still here, got {args.row!r}; '
            'check out the commit that its line of the ledger names, and run '
            'it there'
        )
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    entry = run_row(rows[args.row], plan, args)
    with atomic_write(args.out) as path:
        path.write_text(json.dumps(entry, sort_keys=True) + '\n')


if __name__ == '__main__':
    main()
