"""Opens the run that a command names: its config, checkpoint and images."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ahpcl.cli.arguments import add_config_options, apply_options, read_config
from ahpcl.compat.frameworks import scope_of
from ahpcl.datasets.fit_config import (
    fit_to_images,
    fit_to_pixels,
    pixels_of,
)
from ahpcl.runtime.checkpoint_files import defect_of
from ahpcl.visualization.report_files import find_checkpoint, find_config

if TYPE_CHECKING:
    from ahpcl.evaluation.run_data import RunData


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of :func:`open_run`."""
    parser.add_argument('config', help='config of the run, or its folder')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint that it wrote (default: the last one in the folder)',
    )
    parser.add_argument('--device', help='such as cpu or cuda:1')
    add_config_options(parser)


def find_run(args: argparse.Namespace, untrained: bool = False) -> None:
    """Replace the folder of a run by its config and its last checkpoint.

    Args:
        args: With ``config`` and ``checkpoint``; changed in place where the
            former is a folder.
        untrained: Whether there need be no checkpoint.

    Raises:
        ValueError: If there is no config or no checkpoint in it.
    """
    if Path(args.config).is_dir():
        folder = args.config
        args.config = str(find_config(folder))
        if args.checkpoint is None:
            args.checkpoint = str(find_checkpoint(folder))
    if args.checkpoint is None and not untrained:
        raise ValueError(
            'expected a checkpoint, or the folder of a run, got '
            f'{args.config} alone'
        )


def open_run(args: argparse.Namespace) -> RunData:
    """Opens the checkpoint of a run, with its features beside it.

    Args:
        args: Arguments of :func:`add_run_arguments`.

    Raises:
        SystemExit: If the config does not exist.
        ValueError: If the checkpoint does not, or is of another model.
    """
    from ahpcl.evaluation.run_data import RunData

    find_run(args)
    cfg = read_config(str(args.config))
    apply_options(cfg, args.cfg_options, args.data_root)
    if cfg.get('model') is None:
        raise ValueError(
            f'expected the config of a run, got {args.config} without a model'
        )
    return RunData(
        cfg,
        args.checkpoint,
        device=args.device,
        cache=Path(args.checkpoint).resolve().parent / 'features',
    )


def fit_images(cfg: Config, checkpoint: str | None = None) -> None:
    """Fits a config to the depth and the bands of its images.

    Args:
        cfg: Changed in place.
        checkpoint: That the run goes on from or that is evaluated, which
            knows its images; without one the training images are looked at.
    """
    init_default_scope(scope_of(cfg))
    numbers = pixels_of(checkpoint) if checkpoint else None
    if numbers is not None:
        fit_to_pixels(cfg, numbers)
    elif checkpoint is None or cfg.get('resume'):
        fit_to_images(cfg)


def check_checkpoint(path: str) -> str:
    """Returns the path of a checkpoint that exists.

    Args:
        path: Path of a local file, or an address such as ``https://...``.

    Returns:
        The path.

    Raises:
        SystemExit: If it is a local file that does not exist or is broken.
    """
    if '://' in path:
        return path
    file = Path(os.path.expanduser(path))
    if not file.is_file():
        raise SystemExit(
            f'expected a checkpoint, got {path}, which does not exist'
        )
    defect = defect_of(file)
    if defect is not None:
        raise SystemExit(
            f'expected a complete checkpoint, got {path}: it {defect}'
        )
    return str(file)
