"""Draw pictures of a run and of what its checkpoint says about the images.

Writes every picture as PNG and SVG. What needs labels is left out where there
are none.
"""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

from mmengine.logging import MMLogger

from ahpcl.cli.console import say
from ahpcl.cli.runs import add_run_arguments, find_run, open_run

KINDS = ('curves', 'tsne', 'umap', 'gallery', 'sizes', 'confusion', 'tree')
# UMAP compiles itself first, and t-SNE shows the same.
DEFAULT = tuple(kind for kind in KINDS if kind != 'umap')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    add_run_arguments(parser)
    parser.add_argument(
        '--out',
        help='folder for the pictures (default: figures, beside the '
        'checkpoint)',
    )
    parser.add_argument(
        '--kinds',
        nargs='+',
        choices=KINDS,
        default=DEFAULT,
        help='what to draw (default: all but umap)',
    )
    parser.add_argument(
        '--max-images',
        type=int,
        default=5000,
        help='images of t-SNE and UMAP at most (default: 5000)',
    )
    parser.add_argument(
        '--levels',
        nargs='+',
        type=int,
        metavar='K',
        help='numbers of clusters whose galleries and confusions are drawn '
        '(default: all)',
    )
    parser.add_argument(
        '--tensorboard',
        action='store_true',
        help='also write an event file for TensorBoard into the folder',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of samples and layouts'
    )


def figures(args: argparse.Namespace) -> Iterator:
    """Yields the name and the figure of every picture."""
    from ahpcl.visualization.curves import curves_figure
    from ahpcl.visualization.run_figures import run_figures
    from ahpcl.visualization.run_log import RunLog

    work_dir = Path(args.checkpoint).resolve().parent
    others = [kind for kind in args.kinds if kind != 'curves']
    data = open_run(args)
    if 'curves' in args.kinds:
        try:
            log = RunLog(work_dir)
        except ValueError as error:
            say(f'curves left out: {error}')
        else:
            yield 'curves', curves_figure(log, source=work_dir.name)
    if others:
        yield from run_figures(
            data,
            others,
            levels=args.levels,
            max_images=args.max_images,
            seed=args.seed,
            tell=say,
        )


def execute(args: argparse.Namespace) -> None:
    """Draws and writes."""
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    from ahpcl.visualization.save import log_figures, save_figure

    try:
        find_run(args)
    except ValueError as error:
        raise SystemExit(f'error: {error}') from error
    out = Path(args.out or Path(args.checkpoint).resolve().parent / 'figures')
    if out.exists() and not out.is_dir():
        raise SystemExit(f'error: expected a folder for --out, got {out}')
    writer = None
    if args.tensorboard:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(out))
    try:
        for name, figure in figures(args):
            for file in save_figure(figure, out / name):
                say(f'{file}  {file.stat().st_size / 1000:,.0f} kB')
            if writer is not None:
                log_figures(writer, {name: figure}, 0)
    except (ValueError, ImportError, OSError) as error:
        raise SystemExit(f'error: {error}') from error
    finally:
        if writer is not None:
            writer.close()


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    execute(args)
    return 0
