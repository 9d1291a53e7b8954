#!/usr/bin/env python
r"""Write a run as one HTML page that opens from disk and fetches nothing.

  python tools/analysis_tools/report.py work_dirs/ahpcl_digits

The config, curves, decisions, evaluations (those of tools/evaluate.py, where
there are any), cluster quality, a gallery of prototypes, and an explorer of
their hierarchy. Features are cached in <work dir>/features.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import _threads  # noqa: F401  # isort: skip  (before torch)

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)
from _cli import add_config_options, open_run, say
from ahpcl.visualization.report import (
    MAX_IMAGES,
    report_page,
    write_page,
)
from ahpcl.visualization.report_files import (
    find_checkpoint,
    find_config,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('work_dir', help='folder of the run')
    parser.add_argument(
        '--checkpoint', help='default: the last one in the folder'
    )
    parser.add_argument(
        '--config', help='default: the newest *.py in the folder'
    )
    parser.add_argument('--out', help='default: report.html in the folder')
    parser.add_argument(
        '--max-images',
        type=int,
        default=MAX_IMAGES,
        metavar='N',
        help=f'images in the page at most (default: {MAX_IMAGES})',
    )
    parser.add_argument('--device', help='such as cpu or cuda:1')
    add_config_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> Path:
    """Writes the report; returns its path."""
    args = parse_args(argv)
    folder = Path(args.work_dir)
    try:
        config = args.config or str(find_config(folder))
        checkpoint = Path(args.checkpoint or find_checkpoint(folder))
        if not checkpoint.is_file():
            raise ValueError(
                f'expected a checkpoint, got {checkpoint}, which does not '
                'exist'
            )
        if args.max_images < 1:
            raise ValueError(
                f'expected --max-images of 1 or more, got {args.max_images}'
            )
        args.config, args.checkpoint = config, checkpoint
        run = open_run(args)
        text = report_page(
            run, folder, config=config, max_images=args.max_images
        )
        out = Path(args.out) if args.out else folder / 'report.html'
        size = write_page(text, out)
    except (ValueError, OSError, FloatingPointError) as error:
        raise SystemExit(f'error: {error}') from None
    say(f'wrote {out}, {size / 1e6:.1f} MB')
    return out


if __name__ == '__main__':
    sys.exit(0 if main() else 1)
