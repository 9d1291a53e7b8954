#!/usr/bin/env python
"""Evaluate a checkpoint with the config's test loop, else its val loop.

python tools/test.py configs/ahpcl_digits.py work_dirs/.../epoch_20.pth
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence

import _threads  # noqa: F401  # isort: skip  (before torch)
from mmengine.config import Config
from mmengine.runner import Runner

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)
from _cli import (
    add_common_arguments,
    check_checkpoint,
    fit_images,
    prepare,
    say,
)
from ahpcl.utils.ranks import unwrap


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description='Evaluate a checkpoint.',
    )
    parser.add_argument(
        'config', help='config file, or ahpcl::NAME.py for a shipped one'
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint to evaluate; without one, the untrained encoder',
    )
    add_common_arguments(parser)
    return parser.parse_args(argv)


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


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Evaluates; prints and returns the metrics."""
    args = parse_args(argv)
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


if __name__ == '__main__':
    main()
