"""Time one config in this process: the Runner as it is, with two watches.

``methods.py`` starts this in a fresh process for every config.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import _threads  # noqa: F401  # isort: skip  (before torch)
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

import ahpcl  # noqa: F401  (patches mmselfsup and mmengine before they read a config)
from ahpcl.cli.arguments import apply_options


class _Enough(Exception):  # noqa: N818
    """Ends a training that has been measured."""


class Watch:
    """Seconds of iterations and of what surrounds them.

    Args:
        warmup: Iterations that do not count.
        iterations: Iterations that do.
    """

    def __init__(self, warmup: int, iterations: int) -> None:
        self.warmup = warmup
        self.target = iterations
        self.done = 0  # iterations, the warm-up included
        self.iterations = 0
        self.images = 0
        self.seconds = 0.0
        self.heads: list[float] = []  # before every epoch
        self.tails: list[float] = []  # after every epoch
        self._mark = 0.0
        self._pending = [0, 0]

    def start(self) -> None:
        """The clock of whatever comes next."""
        self._mark = _now()

    def end_of_head(self) -> None:
        """The epoch begins."""
        self.heads.append(_now() - self._mark)
        self.start()

    def iteration(self, images: int, last: bool) -> None:
        """An iteration is over.

        Args:
            images: Of its batch.
            last: Whether it ends the epoch.
        """
        self.done += 1
        if self.done > self.warmup:
            self._pending[0] += 1
            self._pending[1] += images
        enough = self.iterations + self._pending[0] >= self.target
        if self.done == self.warmup:
            self.start()
        elif self._pending[0] and (last or enough):
            self.seconds += _now() - self._mark
            self.iterations += self._pending[0]
            self.images += self._pending[1]
            self._pending = [0, 0]
            if enough:
                raise _Enough
        # In between the clock runs on, and a device is not waited for.

    def end_of_tail(self) -> None:
        """The epoch's last hook is through."""
        self.tails.append(_now() - self._mark)


class _First(Hook):
    priority = 'HIGHEST'

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def before_train_epoch(self, runner: Runner) -> None:
        self.watch.start()

    def after_train_epoch(self, runner: Runner) -> None:
        self.watch.start()


class _Last(Hook):
    priority = 'LOWEST'

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def before_train_epoch(self, runner: Runner) -> None:
        self.watch.end_of_head()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        last = batch_idx + 1 == len(runner.train_dataloader)
        self.watch.iteration(len(data_batch['data_samples']), last)

    def after_train_epoch(self, runner: Runner) -> None:
        self.watch.end_of_tail()


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def prepare(settings: dict[str, Any]) -> Config:
    """The config with one setting for all methods, and nothing but training.

    Args:
        settings: As :mod:`methods` writes them.
    """
    # Formatting a config takes longer than a short training.
    cfg = Config.fromfile(settings['config'], format_python_code=False)
    apply_options(cfg, settings['options'], settings.get('data_root'))
    cfg.launcher, cfg.work_dir = 'none', settings['work_dir']
    cfg.resume, cfg.load_from = False, None
    cfg.log_level = 'WARNING'
    for part in ('val', 'test'):
        for name in ('dataloader', 'evaluator', 'cfg'):
            cfg[f'{part}_{name}'] = None
    cfg.default_hooks.checkpoint = None
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    loader = cfg.train_dataloader
    loader.batch_size = settings['batch_size']
    loader.num_workers = settings['workers']
    loader.persistent_workers = settings['workers'] > 0
    for hook in cfg.get('custom_hooks') or []:
        # From the first epoch as it is later: with prototypes.
        if 'warmup_epochs' in hook:
            hook.warmup_epochs = 0
    return cfg


def update_interval(cfg: Config) -> int:
    """Epochs from one pass over all images (an E-step) to the next."""
    hooks = cfg.get('custom_hooks') or []
    return max(
        [int(h.get('interval', 1)) for h in hooks if 'extract_dataloader' in h]
        or [1]
    )


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """Train until enough iterations were seen.

    Args:
        settings: As :mod:`methods` writes them.

    Returns:
        What was measured: numbers, in seconds and bytes.

    Raises:
        ValueError: If the training is too short for the warm-up.
    """
    torch.set_num_threads(settings['threads'])
    cfg = prepare(settings)
    base = peak_memory()
    runner = Runner.from_cfg(cfg)
    runner.logger.setLevel(logging.ERROR)
    watch = Watch(settings['warmup'], settings['iterations'])
    runner.register_hook(_First(watch))
    runner.register_hook(_Last(watch))
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(_Enough):
        runner.train()
    if not watch.iterations:
        raise ValueError(
            f'expected a training of more than {watch.warmup} iterations, '
            f'got {watch.done}; lower --warmup'
        )
    return summary(watch, runner, update_interval(cfg), base)


def summary(
    watch: Watch, runner: Runner, interval: int, base: int
) -> dict[str, Any]:
    """What the watch saw, and an epoch made of it.

    An epoch costs its iterations, and the share of an update of prototypes or
    labels that falls on it. Of several updates the last counts, since the
    first has no previous one to start from.
    """
    length = len(runner.train_dataloader)
    iteration = watch.seconds / watch.iterations
    images = watch.images / watch.iterations
    update = watch.heads[::interval][-1]
    extra = update / interval
    if watch.tails:
        extra += math.fsum(watch.tails) / len(watch.tails)
    epoch = length * iteration + extra
    gpu = torch.cuda.is_available()
    return dict(
        iterations=watch.iterations,
        iterations_per_epoch=length,
        seconds_per_iteration=iteration,
        images_per_second=images / iteration,
        update_seconds=update,
        update_interval=interval,
        surrounding_seconds_per_epoch=extra,
        surrounding_share=extra / epoch,
        epoch_seconds=epoch,
        epoch_images_per_second=length * images / epoch,
        peak_memory=torch.cuda.max_memory_allocated()
        if gpu
        else peak_memory(),
        base_memory=0 if gpu else base,
        device=torch.cuda.get_device_name() if gpu else 'CPU',
    )


def peak_memory() -> int:
    """The most bytes that this process ever held in memory.

    Not ``getrusage`` where Linux tells better: its figure is inherited from
    the process that started this one.
    """
    status = Path('/proc/self/status')
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith('VmHWM'):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def main() -> None:
    """Reads the settings, writes the result."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    result = measure(settings)
    Path(sys.argv[2]).write_text(json.dumps(result))


if __name__ == '__main__':
    main()
