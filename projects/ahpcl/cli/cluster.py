r"""Cluster images by an encoder that is not trained.

  ahpcl cluster photos/ --encoder timm:resnet18 --weights r18.safetensors \
      --out runs/frozen
  ahpcl cluster photos/ --encoder runs/photos --out runs/again --levels 50 10
  ahpcl cluster features.npz --out runs/vectors

Nothing is downloaded: weights come from a file, a state dict or safetensors
under the names of timm or torchvision; --weights random is an untrained
encoder. The folder gets images.csv, features.npz, kinds.json (how many kinds
are there?), report.html and encoder.safetensors, with which it serves as a
run: ahpcl assign, similar, export. Features come from an .npz with an array
'feature' (as "ahpcl embed" writes it), or from a .npy.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ahpcl.cli.console import say

from .images import add_reading_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    parser.add_argument(
        'images',
        nargs='+',
        help='images, folders of images, or one file of features',
    )
    parser.add_argument('--out', required=True, help='folder to write to')
    parser.add_argument(
        '--encoder',
        help='timm:NAME, torchvision:NAME, a run or a checkpoint',
    )
    parser.add_argument(
        '--weights', help="file of weights for it, or 'random'"
    )
    parser.add_argument(
        '--levels',
        type=int,
        nargs='+',
        metavar='K',
        help='cluster counts (default: by the number of images)',
    )
    parser.add_argument(
        '--linkage',
        default='agglomerative',
        choices=('agglomerative', 'divisive', 'independent'),
        help='how levels are nested, or not (default: agglomerative)',
    )
    parser.add_argument(
        '--image-size', type=int, metavar='PX', help='of an encoder by name'
    )
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument('--device', help='such as cpu or cuda:1')
    parser.add_argument(
        '--no-report', action='store_true', help='write no report.html'
    )
    add_reading_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from ahpcl.api import cluster
    from ahpcl.api.cluster import is_features
    from ahpcl.api.export import check_safetensors

    items, names = read_items(args.images)
    if not is_features(items):
        # The folder gets its encoder last, after all the work.
        check_safetensors()
    found = cluster(
        items,
        encoder=args.encoder,
        weights=args.weights,
        levels=args.levels,
        linkage=args.linkage,
        names=names,
        image_size=args.image_size,
        batch_size=args.batch_size,
        on_unreadable='skip' if args.skip_unreadable else 'raise',
        device=args.device,
        seed=args.seed,
    )
    for level in found.hierarchy.levels:
        sizes = level.sizes()
        say(
            f'K = {level.num_clusters}: {int((sizes > 0).sum())} clusters of '
            f'{int(sizes.min())} to {int(sizes.max())} images'
        )
    say(f'kinds: {found.kinds.describe()}')
    for note in found.kinds.notes:
        say(f'  {note}')
    for file in found.save(args.out, report=not args.no_report):
        say(f'wrote {file}')
    if found.skipped:
        say(
            f'left out {len(found.skipped)} that cannot be read, first '
            f'{found.skipped[0]}'
        )
    return 0


def read_items(given: list[str]) -> tuple[Any, list[str] | None]:
    """Return images as given, or the features of a file with their names.

    Raises:
        ValueError: If a file of features cannot be read.
    """
    if len(given) != 1 or Path(given[0]).suffix not in ('.npz', '.npy'):
        return given, None
    path = given[0]
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content, None
        with content:
            if 'feature' not in content.files:
                raise ValueError(
                    f"expected an array 'feature' in {path}, got "
                    f'{", ".join(content.files)}'
                )
            names = None
            if 'path' in content.files:
                names = content['path'].tolist()
            return content['feature'], names
    except OSError as error:
        raise ValueError(
            f'expected a file of features, got {path}: {error}'
        ) from error
