"""What the commands share that take a run and images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ahpcl.evaluation.cluster_table import FORMATS, check_parquet

if TYPE_CHECKING:
    from ahpcl.api import Encoder


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """Add the run, its config and the device."""
    parser.add_argument(
        'run',
        help='folder of a run, a checkpoint, or a .safetensors file of '
        '"ahpcl export"',
    )
    parser.add_argument(
        '--config', help='config of a checkpoint that holds none'
    )
    parser.add_argument('--device', help='such as cpu or cuda:1')


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a run, images, and how they are read."""
    add_run_argument(parser)
    parser.add_argument(
        'images',
        nargs='+',
        help='images, folders of images, or .txt files that list paths',
    )
    add_reading_arguments(parser)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how images are read."""
    parser.add_argument(
        '--batch-size', type=int, default=64, help='default: 64'
    )
    parser.add_argument(
        '--skip-unreadable',
        action='store_true',
        help='leave out files that are no images, and say how many',
    )


def load_encoder(args: argparse.Namespace) -> Encoder:
    """Load the run that the arguments name.

    Raises:
        ValueError: If there is none.
    """
    from ahpcl.api import load

    return load(args.run, config=args.config, device=args.device)


def check_out(path: str) -> Path:
    """Refuse a table that cannot be written, before any image is read.

    Raises:
        ValueError: If the ending is unknown.
        ImportError: If Parquet is asked for and pyarrow is not installed.
    """
    out = Path(path)
    form = out.suffix.removeprefix('.')
    if form not in FORMATS:
        raise ValueError(
            f'expected --out ending in .{", .".join(FORMATS)}, got {path}'
        )
    if form == 'parquet':
        check_parquet()
    return out
