#!/usr/bin/env python
"""Build, inspect or check the decoded caches of a config's images.

Training builds what it lacks by itself; this does it beforehand, on one
machine, for instance before a job with many. A cache holds every image as it
is decoded, so that training reads pixels instead of files.

  decode_cache.py configs/ahpcl_tin100.py              # build or inspect
  decode_cache.py configs/ahpcl_tin100.py --verify     # decode all, compare
  decode_cache.py configs/ahpcl_tin100.py --loader val_dataloader
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from ahpcl.cli.arguments import add_config_options, apply_options, read_config
from ahpcl.compat.frameworks import scope_of
from ahpcl.datasets import (
    DecodedCache,
    ImageListDataset,
    fit_to_images,
    read_image,
)
from ahpcl.datasets.decode import stored
from ahpcl.datasets.decoded_cache_build import reduced
from ahpcl.utils.progress import watched


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name, by default the process's.

    Returns:
        Exit status: 0, or 1 after an error message.
    """
    args = parse_args(argv)
    try:
        config = read_config(args.config)
        apply_options(config, args.cfg_options, args.data_root)
        init_default_scope(scope_of(config))
        for dataset in opened(config, args):
            report(dataset)
            if args.verify:
                verify(dataset)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config whose images are decoded')
    parser.add_argument(
        '--loader',
        default='train_dataloader',
        help='whose data set (default: %(default)s)',
    )
    parser.add_argument(
        '--folder',
        help='of the cache (default: that of the config, else auto)',
    )
    parser.add_argument(
        '--max-side',
        type=int,
        help='reduce longer sides to it, px (default: that of the config, '
        'else every pixel is kept)',
    )
    parser.add_argument(
        '--verify',
        action='store_true',
        help='decode every image again and compare',
    )
    add_config_options(parser)
    return parser.parse_args(argv)


def opened(
    config: Config, args: argparse.Namespace
) -> Iterator[ImageListDataset]:
    """The data sets of the loader with their caches, built where needed.

    Raises:
        ValueError: if there is none that reads image files.
    """
    loader = config.get(args.loader)
    if not loader:
        names = [name for name in config if name.endswith('_dataloader')]
        raise ValueError(
            f'expected a loader of the config, got {args.loader!r}; there '
            f'are {", ".join(names)}'
        )
    fit_to_images(config)
    for settings in listed(loader['dataset']):
        settings = dict(settings)
        if args.folder or not settings.get('decoded_cache'):
            settings['decoded_cache'] = args.folder or 'auto'
        if args.max_side is not None:
            settings['decoded_max_side'] = args.max_side
        dataset = DATASETS.build(settings)
        if not isinstance(dataset, ImageListDataset) or (
            getattr(dataset, 'store', None) is not None
        ):
            raise ValueError(
                f'expected a data set that reads image files, got '
                f'{settings["type"]}, whose images are in memory'
            )
        if dataset.decoded is None:
            raise ValueError(
                'no decoded cache was built, the log says why; give a folder '
                'with enough room as --folder'
            )
        yield dataset


def listed(dataset: Any) -> list[dict]:
    """The settings of a data set, or of those inside a wrapper."""
    if 'dataset' in dataset:
        return listed(dataset['dataset'])
    if 'datasets' in dataset:
        return [one for part in dataset['datasets'] for one in listed(part)]
    return [dataset]


def report(dataset: ImageListDataset) -> None:
    """Print what the cache holds, and the line for the config."""
    cache: DecodedCache = dataset.decoded
    index = cache.index
    low, high = index.shapes.min(axis=0), index.shapes.max(axis=0)
    pixels, files = index.offsets[-1] / 2**20, index.file_sizes.sum() / 2**20
    print(f'{dataset.describe()}: {len(dataset)} images')
    print(f'  cache     {cache.folder}')
    print(f'  images    {len(cache)}, {files:,.1f} MiB of files')
    print(f'  decoded   {pixels:,.1f} MiB')
    print(f'  height    {low[0]} to {high[0]} px')
    print(f'  width     {low[1]} to {high[1]} px')
    print(f'  max side  {index.max_side or "none: every pixel is kept"}')
    free = shutil.disk_usage(cache.folder).free / 2**20
    print(f'  disk      {free:,.0f} MiB free')
    print(f'  config    decoded_cache={dataset.decoded_cache!r}', end='')
    side = dataset.decoded_max_side
    print('' if side is None else f', decoded_max_side={side}')


def verify(dataset: ImageListDataset) -> None:
    """Decode all images again.

    Raises:
        ValueError: if one is another than in the cache.
    """
    side = dataset.decoded_max_side
    number = len(dataset)
    for place in watched(range(number), 'Comparing images', number):
        path = dataset.get_data_info(place)['img_path']
        image = stored(reduced(read_image(path, dataset.pixels), side))
        block, _ = dataset.image_block([place])
        if not np.array_equal(block[0].permute(1, 2, 0).numpy(), image):
            raise ValueError(
                f'expected the pixels of {path} in {dataset.decoded.folder}, '
                'got others; delete the folder, and it is built again'
            )
    print(f'  verified  {number} images are as decoded')


if __name__ == '__main__':
    sys.exit(main())
