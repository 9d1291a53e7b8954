"""Train an encoder on a folder of images, without labels.

  ahpcl train photos/ --out runs/photos --minutes 30

Encoder, size of the views, batch, queue, ladder and epochs are chosen from
the images and the machine, and the first screen says why. The config of the
run is <out>/config.py; `ahpcl run <out>/config.py --work-dir OTHER` trains
the same again. Ctrl-C finishes the step and saves; --resume goes on.
"""

from __future__ import annotations

import argparse

from ahpcl.api.choices import MODELS
from ahpcl.api.train import Run, train
from ahpcl.cli.arguments import add_config_options, add_verbose


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    parser.add_argument(
        'folder',
        nargs='+',
        help='folder of images, in any nesting, or a text file of their '
        'paths; several are one data set',
    )
    parser.add_argument(
        '--out', help='folder of the run (default: runs/ and the name)'
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        '--minutes',
        type=float,
        help='how long it may take, about (default: 30)',
    )
    length.add_argument('--epochs', type=int, help='how many epochs instead')
    parser.add_argument(
        '--model',
        choices=sorted(MODELS),
        help='encoder (default: by the images and the machine)',
    )
    parser.add_argument(
        '--config',
        help='a config of your own, or the name of a shipped one, whose '
        'encoder, sizes and rates are kept',
    )
    parser.add_argument(
        '--image-size', type=int, metavar='PX', help='side of a view'
    )
    parser.add_argument(
        '--labels',
        default='auto',
        metavar='WHAT',
        help='where kNN has its classes from: auto, folders, a CSV file of '
        'filename,label, or none (default: auto)',
    )
    parser.add_argument(
        '--skip-unreadable',
        action='store_true',
        help='leave out files that are no images or damaged',
    )
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on with the run in --out, if there is one, by its own config',
    )
    add_config_options(parser, data=None)
    add_verbose(parser)


def execute(args: argparse.Namespace) -> Run:
    """Train; return the run."""
    folder = args.folder[0] if len(args.folder) == 1 else args.folder
    return train(
        folder,
        args.out,
        minutes=args.minutes,
        epochs=args.epochs,
        model=args.model,
        config=args.config,
        image_size=args.image_size,
        labels=None if args.labels == 'none' else args.labels,
        skip_unreadable=args.skip_unreadable,
        resume=args.resume,
        cfg_options=args.cfg_options,
        verbose=args.verbose,
    )


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    execute(args)
    return 0
