#!/usr/bin/env python
"""Images per second of the training step, against mmselfsup's in one call.

"host" is mmselfsup's MoCo with the same backbone, neck, queue and batch, its
MultiView pipeline on the CPU of images that it decodes every time, its
preprocessor, its loop over parameters.
Ours: the config as it is, with prototypes in use, and variants of it. Rounds
alternate, so that noise meets all.

python tools/benchmarks/throughput.py configs/ahpcl_digits.py --threads 1 \
    --json docs/benchmarks/throughput_digits.json
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch
from _floor import (
    copy_rate,
    floor_seconds,
    matmul_rate,
    synchronise,
)
from _tables import machine, markdown, write_json
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)
from ahpcl.cli.arguments import add_config_options, apply_options, read_config
from ahpcl.core import KMeansSettings, build_hierarchy
from ahpcl.engine import EStep, KMeansClustering
from ahpcl.engine.extraction import extract_features
from ahpcl.models import split_batchnorm
from ahpcl.models.feature_bank import FeatureBank

COLUMNS = dict(
    name=('step', ''),
    rate=('images/s', '.0f'),
    ratio=('ratio', '.2f'),
    cpu_ms=('CPU ms per image', '.2f'),
    cpu_ratio=('ratio', '.2f'),
    waiting=('waiting for data, %', '.1f'),
    step_ms=('step, ms', '.1f'),
    floor_ms=('floor, ms', '.1f'),
)
VARIANTS = {
    'as configured': {},
    'contiguous': {'model.memory_format': 'contiguous'},
    'views on the CPU': {},  # see views_on_cpu
    'compile': {'model.compile': True},
    'bfloat16': {'optim_wrapper.type': 'BF16OptimWrapper'},
}

# At most so many between two E-steps that are timed.
_STEPS_BETWEEN = 50


class Trainer:
    """A model with its loader and optimizer, stepped on demand.

    Args:
        cfg: Of model, train_dataloader and optim_wrapper.
        device: Where to train.
    """

    def __init__(self, cfg: Config, device: torch.device) -> None:
        self.device = device
        self.model: nn.Module = MODELS.build(cfg.model).to(device).train()
        self.loader: DataLoader = Runner.build_dataloader(
            cfg.train_dataloader, seed=0
        )
        self.optimizer = build_optim_wrapper(self.model, cfg.optim_wrapper)
        self.rates: list[float] = []
        self.cpu: list[float] = []
        self.waits: list[float] = []
        self.steps: list[float] = []
        self._batches: Iterator[Any] = iter(())

    def next_batch(self) -> Any:
        """The next one, of the next epoch if need be."""
        try:
            return next(self._batches)
        except StopIteration:
            self._batches = iter(self.loader)
            return next(self._batches)

    def step(self, batch: Any) -> None:
        """Steps as mmengine's training loop does."""
        self.model.train_step(batch, optim_wrapper=self.optimizer)

    def round(self, iterations: int) -> None:
        """Measure some iterations.

        A GPU is still at work when the next batch is asked for. So there
        they are done twice: as a training does them, for the rate, and then
        one after the other, for what the device waits for data.
        """
        waited, seconds, cpu, images = self._iterate(iterations)
        self.rates.append(images / seconds)
        self.cpu.append(1000 * cpu / images)
        if self.device.type != 'cpu':
            waited, seconds, _, _ = self._iterate(iterations, wait=True)
        self.waits.append(100 * waited / seconds)
        self.steps.append(1000 * (seconds - waited) / iterations)

    def _iterate(
        self, iterations: int, *, wait: bool = False
    ) -> tuple[float, float, float, int]:
        """Seconds of waiting for data, in all and of the CPU, and images."""
        waited, images = 0.0, 0
        synchronise(self.device)
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(iterations):
            before = time.perf_counter()
            batch = self.next_batch()
            waited += time.perf_counter() - before
            images += len(batch['data_samples'])
            self.step(batch)
            if wait:
                synchronise(self.device)
        synchronise(self.device)
        seconds = time.perf_counter() - start
        return waited, seconds, time.process_time() - cpu, images

    def forget(self) -> None:
        """Drop what was measured so far, as after a warm-up."""
        for found in (self.rates, self.cpu, self.waits, self.steps):
            found.clear()

    def row(self, name: str) -> dict[str, Any]:
        """Medians over the rounds."""
        return dict(
            name=name,
            rate=statistics.median(self.rates),
            # Time of this process: without workers it is what the step costs
            # on a machine that others use as well.
            cpu_ms=statistics.median(self.cpu),
            waiting=statistics.median(self.waits),
            step_ms=statistics.median(self.steps),
            rounds=self.rates,
        )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description='Images per second of the training step.'
    )
    parser.add_argument('config', help='of AHPCL')
    parser.add_argument('--iterations', type=int, default=20, help='a round')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--workers', type=int, default=0)
    parser.add_argument(
        '--host-workers', type=int, help="of mmselfsup's MoCo; as --workers"
    )
    parser.add_argument('--batch-size', type=int)
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=VARIANTS,
        default=['as configured', 'contiguous', 'views on the CPU'],
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int)
    parser.add_argument('--json', help='file for the figures')
    add_config_options(parser)
    return parser.parse_args(argv)


def config_of(args: argparse.Namespace, workers: int) -> Config:
    """The config with the settings of all rows."""
    cfg = read_config(args.config)
    apply_options(cfg, args.cfg_options, args.data_root)
    loader = cfg.train_dataloader
    loader.num_workers = workers
    loader.persistent_workers = workers > 0
    loader.pin_memory = args.device.startswith('cuda')
    if args.batch_size:
        loader.batch_size = args.batch_size
    return cfg


def host_config(cfg: Config) -> Config:
    """MoCo of mmselfsup with the model, data and optimizer of ours.

    Its queue must be a multiple of the batch, and is cut to one.
    """
    cfg = copy.deepcopy(cfg)
    ours = cfg.model
    batch = cfg.train_dataloader.batch_size
    if ours.data_preprocessor.type == 'DeviceViews':
        views_on_cpu(cfg)
    images = cfg.train_dataloader.dataset
    for name in ('decoded_cache', 'decoded_max_side'):
        images.pop(name, None)
    mean_std = {k: v for k, v in ours.data_preprocessor.items() if k != 'type'}
    cfg.model = dict(
        type='mmselfsup.MoCo',
        queue_len=max(1, ours.queue_len // batch) * batch,
        feat_dim=ours.get('feat_dim', 128),
        momentum=ours.get('momentum', 0.999),
        backbone=ours.backbone,
        neck=ours.neck,
        head=dict(
            type='mmselfsup.ContrastiveHead',
            temperature=0.2,
            loss=dict(type='mmcls.CrossEntropyLoss'),
        ),
        data_preprocessor=dict(
            type='mmselfsup.SelfSupDataPreprocessor', **mean_std
        ),
    )
    pipeline = cfg.train_dataloader.dataset.pipeline
    for step in pipeline:
        if step['type'] == 'SeededMultiView':
            step['type'] = 'mmselfsup.MultiView'
            step['transforms'] = step.pop('views')
    cfg.train_dataloader.collate_fn = dict(type='default_collate')
    return cfg


def views_on_cpu(cfg: Config) -> None:
    """Let the data set make the views of the preprocessor; changes cfg."""
    on_device = cfg.model.data_preprocessor
    views = {name: on_device.pop(name) for name in ('views', 'num_views')}
    on_device.type = 'ViewPreprocessor'
    dataset = cfg.train_dataloader.dataset
    load, pack = dataset.pipeline
    views = ConfigDict(type='SeededMultiView', **views)
    dataset.pipeline = [load, views, pack]


def use_prototypes(trainer: Trainer, cfg: Config) -> None:
    """Prototypes of the first window, of random features."""
    hook = next(h for h in cfg.custom_hooks if 'ladder' in h)
    rungs = hook.ladder.get('rungs') or [2]
    number = len(trainer.loader.dataset)
    rungs = [k for k in rungs if k * 2 <= number][
        : hook.ladder.get('window', 3)
    ]
    generator = torch.Generator().manual_seed(0)
    dims = trainer.model.queue.features.shape[0]
    rows = torch.randn(number, dims, generator=generator)
    hierarchy = build_hierarchy(
        nn.functional.normalize(rows, dim=1),
        rungs,
        KMeansSettings(n_init=1, n_iter=2),
    )
    trainer.model.head.set_prototypes(
        hierarchy.to(trainer.device), dict.fromkeys(rungs, 0.1)
    )


def operations(trainer: Trainer) -> float:
    """Floating-point operations of a step."""
    counter = FlopCounterMode(display=False)
    with counter:
        trainer.step(trainer.next_batch())
    return float(counter.get_total_flops())


def estep_share(
    trainer: Trainer, cfg: Config, iteration: float, workers: int = 0
) -> dict[str, dict[str, float]]:
    """Shares of an epoch, in percent, in the steady state.

    With warm starts a cold one counts once in ``restart_every`` epochs, and
    an ``interval`` of the config spreads them over so many. A warm one is
    timed after as many steps as come between two E-steps, 50 at most, so
    that the features have moved.

    Args:
        trainer: Of ours.
        cfg: Its config.
        iteration: Seconds of an iteration.
        workers: Of the extraction.

    Returns:
        For every kind of E-step (``as configured`` or ``cold starts``, with
        features by ``extract`` or from the ``bank``, which holds keys alone)
        ``share`` of the whole E-step and ``clustering`` of its clustering
        alone.
    """
    hook = next(h for h in cfg.custom_hooks if 'ladder' in h)
    interval = hook.get('interval', 1)
    loader_cfg = copy.deepcopy(hook.extract_dataloader)
    loader_cfg.update(num_workers=workers, persistent_workers=workers > 0)
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    given = dict(hook.get('clustering') or {})
    given.pop('type', None)
    found = {}
    epoch = iteration * len(trainer.loader)
    between = min(interval * len(trainer.loader), _STEPS_BETWEEN)
    rungs = trainer.model.head.hierarchy.num_clusters
    clusters_keys = trainer.model.cluster_space is None
    sources = ('extract', 'bank') if clusters_keys else ('extract',)
    for name, settings in (
        ('as configured', given),
        ('cold starts', {**given, 'warm_start': False}),
    ):
        clustering = KMeansClustering(**settings)
        every = clustering.restart_every or float('inf')
        for source in sources:
            bank = None
            if source == 'bank':
                number = len(loader.dataset)
                dims = trainer.model.queue.features.shape[0]
                bank = FeatureBank(number, dims, trainer.device)
            estep = EStep(
                loader,
                clustering,
                hook.get('linkage', 'independent'),
                bank=bank,
            )
            previous, clusters = None, []
            for number in range(2):
                if number:
                    for _ in range(between):
                        trainer.step(trainer.next_batch())
                    if bank is not None:
                        moved = extract_features(trainer.model, loader)
                        everything = torch.arange(len(moved))
                        bank.write(everything.to(moved.device), moved)
                result = estep.run(
                    trainer.model,
                    rungs,
                    temperature=0.2,
                    seed=0,
                    epoch=number,
                    previous=previous,
                    fresh=number == 0,
                )
                previous = result.hierarchy
                clusters.append(result.cluster_seconds)
            cold, usual = clusters
            # Of the E-steps, one in so many is cold.
            share_cold = min(interval / every, 1)
            cluster_seconds = usual + (cold - usual) * share_cold
            cluster_seconds /= interval
            seconds = cluster_seconds + result.extract_seconds / interval
            found[f'{name}, {source}'] = dict(
                share=100 * seconds / (seconds + epoch),
                clustering=100 * cluster_seconds / (seconds + epoch),
            )
    return found


def norm_share(trainer: Trainer, iterations: int) -> float | None:
    """Percent of a step that split batch norm takes, forward and backward.

    None on a GPU, where the calls that are timed only start the work.
    """
    if trainer.device.type != 'cpu':
        return None
    seconds = {'step': 0.0, 'norm': 0.0}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            seconds[name] += time.perf_counter() - start
            return result

        return call

    norm = split_batchnorm.SplitBatchNorm
    with ExitStack() as patches:
        patches.enter_context(
            mock.patch.object(norm, 'forward', timed('norm', norm.forward))
        )
        for way in (
            split_batchnorm._NormaliseTogether,
            split_batchnorm._NormaliseParts,
        ):
            backward = staticmethod(timed('norm', way.backward))
            patches.enter_context(mock.patch.object(way, 'backward', backward))
        step = timed('step', trainer.step)
        for _ in range(iterations):
            step(trainer.next_batch())
    return 100 * seconds['norm'] / seconds['step']


def whole_norm_share(trainer: Trainer, iterations: int) -> float | None:
    """Percent of a step that torch's batch norm of whole batches would take.

    What split batch norm takes is to be read beside it. None on a GPU. The
    trainer has batch norm of whole batches from then on.
    """
    if trainer.device.type != 'cpu':
        return None
    for module in trainer.model.modules():
        if isinstance(module, split_batchnorm.SplitBatchNorm):
            module.num_splits = 1
    trainer.step(trainer.next_batch())
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        for _ in range(iterations):
            trainer.step(trainer.next_batch())
        seconds = time.perf_counter() - start
    microseconds = sum(
        event.self_cpu_time_total
        for event in profiler.key_averages()
        if 'batch_norm' in event.key or 'NativeBatchNorm' in event.key
    )
    return 100 * microseconds / 1e6 / seconds


def features_of(cfg: Config) -> str:
    """Where an E-step of the config has its features from."""
    hook = next(h for h in cfg.custom_hooks if 'ladder' in h)
    return hook.get('features', 'extract')


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measures, prints and returns the rows."""
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    cfg = config_of(args, args.workers)
    init_default_scope(cfg.default_scope)
    workers = args.workers if args.host_workers is None else args.host_workers
    trainers = {
        "host: mmselfsup's MoCo": Trainer(
            host_config(config_of(args, workers)), device
        )
    }
    configs = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.variants:
            own = config_of(args, args.workers)
            own.merge_from_dict(VARIANTS[name])
            if name == 'views on the CPU':
                views_on_cpu(own)
            own.work_dir = folder
            configs[name] = own
            trainers[name] = Trainer(own, device)
            use_prototypes(trainers[name], own)
        flops = {name: operations(t) for name, t in trainers.items()}
        for number in range(args.rounds + 1):
            for trainer in trainers.values():
                trainer.round(args.iterations)
                if number == 0:  # the first warms up
                    trainer.forget()
            print(f'round {number} of {args.rounds}', flush=True)
        rows = [trainer.row(name) for name, trainer in trainers.items()]
        first = args.variants[0]
        batch = trainers[first].loader.batch_size
        share = estep_share(
            trainers[first],
            configs[first],
            batch / statistics.median(trainers[first].rates),
        )
        norm = norm_share(trainers[first], args.iterations)
        whole = whole_norm_share(trainers[first], args.iterations)
    rates = dict(matmul=matmul_rate(device), copy=copy_rate(device))
    for row in rows:
        row['ratio'] = row['rate'] / rows[0]['rate']
        row['cpu_ratio'] = rows[0]['cpu_ms'] / row['cpu_ms']
        parameters = sum(
            p.nbytes for p in trainers[row['name']].model.parameters()
        )
        # Weights and gradients are read and written at least once each.
        row['floor_ms'] = 1000 * floor_seconds(
            flops[row['name']], 4.0 * parameters, **rates
        )
    print(
        f'\n{machine(device)["device"]}, {torch.get_num_threads()} thread(s), '
        f'{args.workers} worker(s), batch {batch}; matmul '
        f'{rates["matmul"] / 1e9:.0f} GFLOP/s\n'
    )
    print(markdown(rows, COLUMNS))
    print('\nE-step, share of the epoch:')
    for kind, value in share.items():
        print(
            f'  {kind}: {value["share"]:.1f} %, of it clustering '
            f'{value["clustering"]:.1f} %'
        )
    if norm is not None and whole is not None:
        print(
            f'\nsplit batch norm, share of the step: {norm:.1f} %; of whole '
            f'batches: {whole:.1f} %'
        )
    if args.json:
        write_json(
            args.json,
            dict(
                machine=machine(device),
                settings=dict(vars(args), threads=torch.get_num_threads()),
                rates=rates,
                # The kind that the config has is `as configured` with these.
                features=features_of(configs[first]),
                estep_share=share,
                norm_share=norm,
                whole_norm_share=whole,
                rows=rows,
            ),
        )
    return rows


if __name__ == '__main__':
    main()
