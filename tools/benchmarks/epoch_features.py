#!/usr/bin/env python
"""Key features of consecutive checkpoints, for `estep.py --features`.

Of views as training makes them, as a feature bank would hold them; with
fewer images than points, of several views of an image.

python tools/benchmarks/epoch_features.py configs/ahpcl_tin100_cpu.py \
    epoch_11.pth epoch_12.pth --points 38400 --out features.pt
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, load_checkpoint
from torch import Tensor

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)
from ahpcl.cli.arguments import add_config_options, apply_options, read_config
from ahpcl.datasets.epoch import set_epoch
from ahpcl.engine.two_views import view_preprocessing


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description='Key features of consecutive checkpoints.'
    )
    parser.add_argument('config')
    parser.add_argument('checkpoints', nargs='+')
    parser.add_argument('--points', type=int, default=38400)
    parser.add_argument('--out', required=True)
    add_config_options(parser)
    return parser.parse_args(argv)


@torch.no_grad()
def features_of(
    model: torch.nn.Module, loader: torch.utils.data.DataLoader, points: int
) -> Tensor:
    """Keys of as many views as there are to be points, (points, D) half."""
    rows: list[Tensor] = []
    count, epoch = 0, 0
    while count < points:
        set_epoch(loader.dataset, epoch, 0)
        preprocess = view_preprocessing(model, epoch, 0)
        for batch in loader:
            views, _ = preprocess(batch)
            for view in views:
                rows.append(model.extract_keys(view).half())
                count += len(view)
        epoch += 1
    return torch.cat(rows)[:points]


def main(argv: Sequence[str] | None = None) -> None:
    """Extracts and writes."""
    args = parse_args(argv)
    config = read_config(args.config)
    apply_options(config, args.cfg_options, args.data_root)
    init_default_scope(config.default_scope)
    loader_config = config.train_dataloader
    loader_config.sampler = dict(type='DefaultSampler', shuffle=False)
    loader_config.update(drop_last=False)
    loader = Runner.build_dataloader(loader_config, seed=0)
    model = MODELS.build(config.model).eval()
    epochs = []
    for checkpoint in args.checkpoints:
        load_checkpoint(model, checkpoint, map_location='cpu')
        epochs.append(features_of(model, loader, args.points))
        print(f'{checkpoint}: {tuple(epochs[-1].shape)}', flush=True)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(epochs=epochs), args.out)


if __name__ == '__main__':
    main()
