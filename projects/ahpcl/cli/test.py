"""Evaluate a checkpoint with the config's test loop, else its val loop.

python tools/test.py configs/ahpcl_digits.py work_dirs/.../epoch_20.pth
"""

from __future__ import annotations

import argparse
import copy

from mmengine.config import Config
from mmengine.runner import Runner

from ahpcl.cli.arguments import (
    add_common_arguments,
    prepare,
)
from ahpcl.cli.console import say
from ahpcl.cli.runs import check_checkpoint, fit_images
from ahpcl.utils.ranks import unwrap


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    parser.add_argument(
        'config', help='config file, or ahpcl::NAME.py for a shipped one'
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint to evaluate; without one, the untrained encoder',
    )
    add_common_arguments(parser)


def use_val_where_test_is_absent(cfg: Config) -> None:
    """Fills the test loop's settings from the val loop's.

    Args:
        cfg: Changed in place.

    Raises:
        SystemExit: If the config has neither.
    """
    for part in ('dataloader', 'evaluator', 'cfg'):
        if cfg.get(f'test_{part}') is None:
            cfg[f'test_{part}'] = copy.deepcopy(cfg.get(f'val_{part}'))
    missing = [
        name
        for name in ('test_dataloader', 'test_evaluator')
        if cfg.get(name) is None
    ]
    if missing:
        raise SystemExit(
            'expected a config with test_* or val_* settings, got none for '
            f'{" and ".join(missing)}: there is nothing to evaluate'
        )
    if cfg.get('test_cfg') is None:
        cfg.test_cfg = {}


def execute(args: argparse.Namespace) -> dict[str, float]:
    """Evaluates; prints and returns the metrics."""
    cfg = prepare(args)
    cfg.load_from = args.checkpoint and check_checkpoint(args.checkpoint)
    cfg.resume = False
    use_val_where_test_is_absent(cfg)
    fit_images(cfg, cfg.load_from)
    runner = Runner.from_cfg(cfg)
    if cfg.load_from is None:
        say('no checkpoint given: this is the untrained encoder')
        unwrap(runner.model).init_weights()
    metrics = runner.test()
    for name, value in metrics.items():
        shown = f'{value:.4f}' if isinstance(value, float) else value
        say(f'{name}: {shown}')
    return metrics


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    execute(args)
    return 0
