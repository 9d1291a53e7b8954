"""What users do that the bare host fails at: run with and without compat.

``python mmselfsup_cases.py [--patched]`` runs them without pkg_resources, and
prints one JSON object: for every case its value, or the error it ends with.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np


def image() -> np.ndarray:
    """A fixed image with hues all around the circle, (8, 8, 3) BGR."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)


def hue_wrap() -> list:
    """Shifts the hue backwards, by all names mmselfsup knows."""
    import mmcv
    import mmcv.image.photometric
    from mmselfsup.datasets.transforms import processing

    functions = (
        mmcv.adjust_hue,
        mmcv.image.adjust_hue,
        mmcv.image.photometric.adjust_hue,
        processing.adjust_hue,
    )
    shifted = [f(image(), -0.1, backend='cv2') for f in functions]
    shifted.append(mmcv.adjust_hue(image(), -0.1, backend='pillow'))
    return [item.tolist() for item in shifted]


def features() -> np.ndarray:
    """Correlated features, (64, 6) float32."""
    generator = np.random.default_rng(1)
    mix = generator.normal(size=(6, 6))
    return (generator.normal(size=(64, 6)) @ mix).astype(np.float32)


def pca_whitening() -> list:
    """Whitens features as DeepCluster does."""
    from mmselfsup.utils.clustering import preprocess_features

    return preprocess_features(features(), 3).tolist()


def runner_registries() -> list:
    """Looks a loop up where mmselfsup says that its loops are."""
    from mmselfsup import registry

    for item in (
        registry.RUNNERS,
        registry.RUNNER_CONSTRUCTORS,
        registry.LOOPS,
    ):
        item.import_from_location()
    return ['imported']


def _loader(**extra: object) -> list:
    from mmengine.runner import Runner

    sampler = {'type': 'DefaultSampler', 'shuffle': False}
    config = {
        'dataset': [1, 2, 3],
        'batch_size': 2,
        'sampler': sampler,
        **extra,
    }
    loader = Runner.build_dataloader(config, seed=0)
    return [batch.tolist() for batch in loader]


def scoped_functions() -> list:
    """Collates with a function that an inherited config has tagged."""
    collate = {'type': 'default_collate', '_scope_': 'mmselfsup'}
    return _loader(collate_fn=collate)


def workerless_loaders() -> list:
    """Keeps workers that there are none of."""
    collate = {'type': 'default_collate'}
    return _loader(collate_fn=collate, num_workers=0, persistent_workers=True)


def _write_config(text: str) -> str:
    path = Path(tempfile.mkdtemp()) / 'config.py'
    path.write_text(text)
    return str(path)


def pkg_resources() -> list:
    """Inherits one of mmselfsup's configs."""
    from mmengine.config import Config

    base = 'mmselfsup::selfsup/_base_/schedules/sgd_coslr-200e_in1k.py'
    cfg = Config.fromfile(_write_config(f'_base_ = {base!r}\n'))
    return [cfg.train_cfg.max_epochs]


def pickled_checkpoints() -> list:
    """Loads a checkpoint as mmengine's own runner writes it."""
    import torch
    from mmengine.logging import HistoryBuffer
    from mmengine.runner.checkpoint import CheckpointLoader

    path = Path(tempfile.mkdtemp()) / 'host.pth'
    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    torch.save({'message_hub': {'loss': buffer}}, path)
    loaded = CheckpointLoader.load_checkpoint(str(path), 'cpu')
    return [float(loaded['message_hub']['loss'].mean())]


def _start_one_process(start: object) -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
    folder = tempfile.mkdtemp()
    start(f'file://{folder}/store')


def gloo_without_cuda() -> list:
    """Starts one process of one, as the runner does under torchrun."""
    import torch
    import torch.distributed as dist
    from mmengine.dist import init_dist

    os.environ.update(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1')
    set_device = torch.cuda.set_device
    _start_one_process(
        lambda store: init_dist(
            'pytorch', 'nccl', init_method=store, rank=0, world_size=1
        )
    )
    restored = torch.cuda.set_device is set_device
    return [dist.get_backend(), restored]


def gloo_under_slurm() -> list:
    """Starts one task of one, as the runner does under Slurm."""
    import socket

    import torch.distributed as dist
    from mmengine.dist import init_dist

    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    os.environ.update(SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_NODELIST='x')
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    _start_one_process(lambda store: init_dist('slurm', 'nccl'))
    return [dist.get_backend(), os.environ['LOCAL_RANK']]


def _wrapped(model: object) -> list:
    import torch
    import torch.distributed as dist
    from mmengine.model import MMDistributedDataParallel

    _start_one_process(
        lambda store: dist.init_process_group(
            'gloo', init_method=store, rank=0, world_size=1
        )
    )
    wrapped = MMDistributedDataParallel(module=model, device_ids=[0])
    wrapped(torch.ones(4, 2)).sum().backward()
    dist.destroy_process_group()
    return [type(layer).__name__ for layer in wrapped.module]


def ddp_device_ids() -> list:
    """Wraps a model on the CPU as the runner does."""
    from torch import nn

    return _wrapped(nn.Sequential(nn.Linear(2, 3)))


def sync_batch_norm() -> list:
    """The same with synchronised batch norm, and no device to list."""
    import torch
    import torch.distributed as dist
    from mmengine.model import MMDistributedDataParallel
    from torch import nn

    _start_one_process(
        lambda store: dist.init_process_group(
            'gloo', init_method=store, rank=0, world_size=1
        )
    )
    model = nn.Sequential(nn.Linear(2, 3), nn.SyncBatchNorm(3))
    wrapped = MMDistributedDataParallel(module=model, device_ids=None)
    wrapped(torch.ones(4, 2)).sum().backward()
    dist.destroy_process_group()
    return [type(layer).__name__ for layer in wrapped.module]


def log_text() -> list:
    """Logs the name of a file that is no UTF-8, as a run does."""
    from mmengine.logging import MMLogger

    file = Path(tempfile.mkdtemp()) / 'run.log'
    logger = MMLogger('run', log_file=str(file))
    logger.handlers[-1].stream.write('caf\udce9.jpg\n')
    logger.handlers[-1].flush()
    return file.read_text('utf-8').splitlines()


CASES = (
    hue_wrap,
    pca_whitening,
    runner_registries,
    scoped_functions,
    workerless_loaders,
    pkg_resources,
    pickled_checkpoints,
    gloo_without_cuda,
    gloo_under_slurm,
    ddp_device_ids,
    sync_batch_norm,
    log_text,
)


def main() -> None:
    """Runs the cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--patched', action='store_true')
    args = parser.parse_args()
    sys.modules['pkg_resources'] = None  # as with setuptools >= 82
    report: dict[str, dict] = {}
    if args.patched:
        from ahpcl import compat

        report['applied'] = {'value': list(compat.apply_all())}
    for case in CASES:
        try:
            report[case.__name__] = {'value': case()}
        except Exception as error:
            text = f'{type(error).__name__}: {error}'
            report[case.__name__] = {'error': text}
    sys.stdout.write('\n' + json.dumps(report) + '\n')


if __name__ == '__main__':
    main()
