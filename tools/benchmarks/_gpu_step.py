"""The training step of `ahpcl_minin.py`: a part of `gpu_check.py`.

mmselfsup's MoCo with its own pipeline and as many workers as help, an eager
step in float32, against ours: as configured (views on the device of images
that are decoded once), and then with what a GPU is for.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _part import Record, parse_part
from _provenance import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from throughput import (
    Trainer,
    estep_share,
    features_of,
    host_config,
    use_prototypes,
)

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)
from ahpcl.datasets.shapes_render import FAMILIES, MARKS, render

CONFIG = ROOT / 'configs' / 'ahpcl_minin.py'
HOST = 'mmselfsup'
#: What is rendered: the number of images and their side in px.
SIZES = dict(images=12_800, side=128, iterations=40, rounds=3)
SMALL = dict(images=64, side=48, iterations=2, rounds=1)
#: Added one after the other.
FAST = {
    'ours, as configured': {},
    'ours, bf16, channels last': {
        'optim_wrapper.type': 'BF16OptimWrapper',
        'model.memory_format': 'channels_last',
    },
    'ours, bf16, channels last, compiled': {'model.compile': True},
}
_SMALL_OPTIONS = {
    'model.backbone.stem_channels': 8,
    'model.backbone.base_channels': 8,
    'model.neck.in_channels': 64,
    'train_dataloader.batch_size': 8,
    'model.queue_len': 32,
    'custom_hooks.0.extract_dataloader.batch_size': 16,
    'custom_hooks.0.ladder.rungs': [20, 10, 5],
}
_CLASSES = [
    (family, shape, mark)
    for family, shapes in FAMILIES.items()
    for shape in shapes
    for mark in MARKS
]


def render_images(folder: Path, number: int, side: int, workers: int) -> None:
    """Write JPEGs of rendered shapes in mini-ImageNet's layout of folders.

    Args:
        folder: Gets ``train/<class>/``, 64 classes.
        number: Of images, in all.
        side: Of an image, in px.
        workers: Processes that draw.
    """
    for number_of_class in range(len(_CLASSES)):
        (folder / 'train' / f'{number_of_class:02d}').mkdir(parents=True)
    parts = [range(first, number, workers) for first in range(workers)]
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(_render, folder, part, side) for part in parts]
        for job in jobs:
            job.result()


def _render(folder: Path, places: range, side: int) -> None:
    for place in places:
        kind = place % len(_CLASSES)
        rng = np.random.default_rng((0, place))
        picture = Image.fromarray(render(*_CLASSES[kind], side, 1.0, rng))
        picture.save(
            folder / 'train' / f'{kind:02d}' / f'{place:06d}.jpg', quality=90
        )


def config_of(data: str, workers: int, small: bool) -> Config:
    """`ahpcl_minin.py` on a folder of images.

    Args:
        data: The folder.
        workers: At most, of every loader.
        small: Whether it is made small.
    """
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(_SMALL_OPTIONS if small else {})
    hook = next(h for h in cfg.custom_hooks if 'ladder' in h)
    for loader in (cfg.train_dataloader, hook.extract_dataloader):
        loader.dataset.data_root = data
        loader.num_workers = min(loader.num_workers, workers)
        loader.persistent_workers = loader.num_workers > 0
    return cfg


def measure(
    row: dict[str, Any], trainer: Trainer, sizes: dict[str, int]
) -> None:
    """Time the rounds of a trainer, after a warm-up."""
    cuda = trainer.device.type == 'cuda'
    if cuda:
        torch.cuda.reset_peak_memory_stats(trainer.device)
    begin = time.perf_counter()
    trainer.round(1)  # with a compiler the first step takes a minute
    row['first_step'] = time.perf_counter() - begin
    # Beyond what the workers have fetched ahead.
    ahead = trainer.loader.num_workers * (trainer.loader.prefetch_factor or 0)
    trainer.round(min(ahead, 4 * sizes['iterations']) + 2)
    trainer.forget()
    for _ in range(sizes['rounds']):
        trainer.round(sizes['iterations'])
    measured = trainer.row(row['name'])
    del measured['cpu_ms']  # of this process, and the work is its workers'
    row.update(measured, workers=trainer.loader.num_workers)
    if cuda:
        peak = torch.cuda.max_memory_allocated(trainer.device)
        row['peak_mib'] = peak / 2**20


def main(argv: Sequence[str] | None = None) -> None:
    """Measure one after the other."""
    args = parse_part(argv)
    sizes = SMALL if args.small else SIZES
    cores = len(os.sched_getaffinity(0))
    workers = min(1 if args.small else 16, cores)
    settings = dict(
        sizes, data=args.data, small=args.small, config=CONFIG.name
    )
    record = Record(args.json, args.device, settings)
    init_default_scope('mmselfsup')
    with tempfile.TemporaryDirectory() as folder:
        os.environ['AHPCL_CACHE'] = str(Path(folder) / 'cache')
        data = args.data
        if data is None:
            data = str(Path(folder) / 'images')
            with record.row('rendering'):
                render_images(
                    Path(data), sizes['images'], sizes['side'], cores
                )
        cfg = config_of(data, workers, args.small)
        settings['batch_size'] = cfg.train_dataloader.batch_size
        with record.row(HOST) as row:
            host = host_config(cfg)
            host.train_dataloader.num_workers = workers
            host.train_dataloader.persistent_workers = True
            measure(row, Trainer(host, args.device), sizes)
            row['ratio'] = 1.0
        reference = row.get('rate')
        for name, options in FAST.items():
            if args.small and 'model.compile' in options:
                continue  # a minute, and needs a compiler on a CPU
            with record.row(name) as row:
                cfg.merge_from_dict(options)
                trainer = Trainer(cfg, args.device)
                use_prototypes(trainer, cfg)
                measure(row, trainer, sizes)
                row['decoded'] = trainer.loader.dataset.decoded is not None
                if reference is not None:
                    row['ratio'] = row['rate'] / reference
                if 'model.compile' not in options:
                    row['features'] = features_of(cfg)
                    hook = next(h for h in cfg.custom_hooks if 'ladder' in h)
                    row['estep_share'] = estep_share(
                        trainer,
                        cfg,
                        cfg.train_dataloader.batch_size
                        / statistics.median(trainer.rates),
                        hook.extract_dataloader.num_workers,
                    )
                del trainer


if __name__ == '__main__':
    main()
