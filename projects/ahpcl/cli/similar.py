r"""Find the training images like an image.

  ahpcl similar runs/photos cat.jpg
  ahpcl similar runs/photos cat.jpg --top 50 --json cats.json

Compared are the key encoder's features, which a finished run keeps: the
training images themselves are not needed. Distances are from 0 to 2.
tools/analysis_tools/find_similar.py compares pooled features of images that
are there, and names the odd ones among them.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from ahpcl.cli.console import say
from ahpcl.utils.atomic_write import atomic_write

from .images import add_run_argument, load_encoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    add_run_argument(parser)
    parser.add_argument('images', nargs='+', help='images, or folders')
    parser.add_argument(
        '--top', type=int, default=20, help='images to list (default: 20)'
    )
    parser.add_argument('--json', help='file for the findings')


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    found = load_encoder(args).similar(args.images, top=args.top)
    for image in found:
        say(f'training images like {_printable(image.name)}')
        for name, distance in zip(image.images, image.distances, strict=True):
            shown = '     -' if math.isnan(distance) else f'{distance:6.3f}'
            say(f'  {shown}  {_printable(name)}')
    if args.json:
        rows = [
            dict(
                image=image.name,
                similar=[
                    dict(
                        path=name,
                        distance=None if math.isnan(far) else float(far),
                    )
                    for name, far in zip(
                        image.images, image.distances, strict=True
                    )
                ],
            )
            for image in found
        ]
        with atomic_write(Path(args.json)) as beside:
            beside.write_text(json.dumps(rows, indent=1) + '\n', 'utf-8')
    return 0


def _printable(name: str) -> str:
    return name.encode('utf-8', 'backslashreplace').decode()
