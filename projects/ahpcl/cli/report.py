r"""Write a run as one HTML page that opens from disk and fetches nothing.

  ahpcl report runs/photos

The config, whether training was worth it (beside pixels, the untrained
encoder, and --pretrained weights), curves, decisions, evaluations (those of
`ahpcl evaluate`, where there are any), cluster quality, a gallery of
prototypes, and an explorer of their hierarchy. Features are cached in
<work dir>/features.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ahpcl.cli.arguments import add_config_options
from ahpcl.cli.console import say
from ahpcl.cli.runs import open_run
from ahpcl.visualization.report import (
    MAX_IMAGES,
    report_page,
    write_page,
)
from ahpcl.visualization.report_files import (
    find_checkpoint,
    find_config,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
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
    parser.add_argument(
        '--pretrained',
        metavar='FILE',
        help='weights for the same encoder that the run is compared with '
        '(default: those that it started from, if any)',
    )
    parser.add_argument('--device', help='such as cpu or cuda:1')
    add_config_options(parser)


def execute(args: argparse.Namespace) -> Path:
    """Writes the report; returns its path."""
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
            run,
            folder,
            config=config,
            max_images=args.max_images,
            pretrained=args.pretrained,
        )
        out = Path(args.out) if args.out else folder / 'report.html'
        size = write_page(text, out)
    except (ValueError, OSError, FloatingPointError) as error:
        raise SystemExit(f'error: {error}') from None
    say(f'wrote {out}, {size / 1e6:.1f} MB')
    return out


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    execute(args)
    return 0
