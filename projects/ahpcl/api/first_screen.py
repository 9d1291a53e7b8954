"""The first screen of a training: a dozen lines, the rest is in the log."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from ahpcl.core import ClusterLadder
from ahpcl.datasets.pixel_format import DTYPE_RANGES, USUAL
from ahpcl.datasets.roots import roots_of
from ahpcl.runtime.optim_wrapper import (
    BF16OptimWrapper,
    has_bf16_instructions,
)
from ahpcl.utils.ranks import unwrap

from .choices import view_size
from .survey import sizes_of

# Lines of mmengine that are of use before the first step, too.
_LET_THROUGH = ('resumed epoch', 'Load checkpoint', 'Auto-resumed')
# What happens to images that nobody asked for, as data sets say it.
_TOLD = (
    *('; leaves out ', ': the first is used', ' have an alpha channel '),
    *(' images become gray ', ' are taken'),
)
# mmengine warns of its own files.
_DROPPED = ('"FileClient" will be', '"HardDiskBackend" is')
# Steps that are not timed, as caches fill, and steps that are.
_UNTIMED, _TIMED = 3, 10
_SLOW_ON_A_CPU = 5_000_000  # weights


class _Quiet(logging.Filter):
    """Keeps what is said before training starts from the console."""

    def __init__(self) -> None:
        super().__init__()
        self.open = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown; all are in the log file."""
        text = record.getMessage()
        return self.open or (
            (
                record.levelno >= logging.WARNING
                and not text.startswith(_DROPPED)
            )
            or text.startswith(_LET_THROUGH)
            or any(part in text for part in _TOLD)
        )


class FirstScreenRunner(Runner):
    """mmengine's Runner that says in a dozen lines what it trains on what.

    The dump of the environment, of the config and of the hooks go to the log
    file, and to the console if ``verbose``.
    """

    verbose = False

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger, whose console is quiet at first."""
        logger = super().build_logger(*args, **kwargs)
        self._quiet = _Quiet()
        self._quiet.open = self.verbose
        for handler in _consoles(logger):
            handler.addFilter(self._quiet)
        return logger

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks; show the screen when all of them are set up."""
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'before_train':
            self._quiet.open = True
            self.logger.info('\n'.join(['this training:', *lines(self)]))
            self._steps_timed = 0
        elif fn_name == 'after_train_iter' and self._steps_timed is not None:
            self._time_steps()

    def _time_steps(self) -> None:
        """Say once how long it will take, where nobody measured it before."""
        self._steps_timed += 1
        if self._steps_timed == _UNTIMED:
            self._since = time.perf_counter()
        elif self._steps_timed == _UNTIMED + _TIMED:
            self._steps_timed = None
            if self.cfg.get('expected_seconds') is None:
                pace = (time.perf_counter() - self._since) / _TIMED
                left = pace * (self.max_iters - self.iter)
                self.logger.info(
                    f'about {duration(left)} at the pace of the first steps, '
                    'without E-steps and validation'
                )


class VerboseRunner(FirstScreenRunner):
    """The same with everything on the console."""

    verbose = True


def build_runner(config: Config, verbose: bool = False) -> FirstScreenRunner:
    """Build the runner of a config, see :class:`FirstScreenRunner`."""
    kind = VerboseRunner if verbose else FirstScreenRunner
    return kind.from_cfg(config)


def lines(runner: Runner) -> list[str]:
    """Say what a runner trains on what, in the lines of the first screen.

    Args:
        runner: With its training loop built.
    """
    rows = _rows(runner)
    reasons = dict(runner.cfg.get('choices') or {})
    found = []
    for key, name, text in rows:
        why = reasons.get(key)
        found.append(f'  {name:9}{text}{f" ({why})" if why else ""}')
    return found


def _rows(runner: Runner) -> Iterator[tuple[str, str, str]]:
    """Key of the reason, name, and text of every line."""
    config, loader = runner.cfg, runner.train_loop.dataloader
    dataset = loader.dataset
    model = unwrap(runner.model)
    images = f'{len(dataset):,}'
    root = getattr(dataset, 'data_root', None)
    if root:
        images += f' in {", ".join(roots_of(root))}'
    sizes = sizes_of(dataset)
    yield 'images', 'images', f'{images}{f", {sizes}" if sizes else ""}'
    pixels = getattr(dataset, 'pixels', USUAL)
    if pixels != USUAL:
        ranges = ', '.join(
            f'{kind} {low:g} to {high:g}'
            + (' and others' if len(spans) > 1 else '')
            for kind, spans in pixels.ranges
            for low, high in (*spans, DTYPE_RANGES[kind])[:1]
        )
        become = f'; {ranges} become 0 to 255' if ranges else ''
        yield 'pixels', 'pixels', f'{pixels.channels} bands{become}'
    size = view_size(config)
    if size is not None:
        yield 'size', 'size', f'{size} px'
    encoder = (getattr(model, part, None) for part in ('backbone', 'neck'))
    weights = sum(
        p.numel() for part in encoder if part for p in part.parameters()
    )
    device = next(model.parameters()).device
    backbone = config.model.get('backbone') or {}
    kind = str(backbone.get('type', type(model).__name__)).rpartition('.')[2]
    if backbone.get('depth') is not None:
        kind += f'-{backbone.depth}'
    yield (
        'encoder',
        'encoder',
        f'{kind}, {weights / 1e6:.1f} M weights, on the {device}',
    )
    if device.type == 'cpu' and weights > _SLOW_ON_A_CPU and root:
        yield (
            '',
            '',
            'slow on a CPU: `ahpcl train FOLDER` chooses a thin encoder, as '
            'does ahpcl::ahpcl_folder_cpu.py',
        )
    in_bf16 = isinstance(runner.optim_wrapper, BF16OptimWrapper)
    if in_bf16 and has_bf16_instructions(device.type):
        yield 'precision', 'computes', 'in bfloat16'
    batch = f'{loader.batch_size} images'
    if runner.world_size > 1:
        batch += f' on each of {runner.world_size} processes'
    yield 'batch', 'batch', batch
    if config.model.get('queue_len') is not None:
        yield 'queue', 'queue', f'{config.model.queue_len:,} keys'
    yield from _ladder(runner)
    if runner.val_loop is not None:
        metrics = config.val_evaluator
        metrics = metrics if isinstance(metrics, list) else [metrics]
        names = ', '.join(
            str(m.get('type')).removesuffix('Metric') for m in metrics if m
        )
        every = config.train_cfg.get('val_interval', 1)
        yield 'knn', 'checks', f'{names} every {every} epochs'
    total, done = runner.max_epochs, runner.epoch
    steps = f'{total} of {len(loader)} steps'
    if done or runner.iter:
        steps += f'; goes on after epoch {done}'
    yield 'epochs', 'epochs', steps
    if 'reading' in (config.get('choices') or {}):
        yield 'reading', 'reading', 'from a decoded cache'
    expected = config.get('expected_seconds')
    if expected is not None:
        left = expected * (total - done) / max(1, total)
        yield 'time', 'time', f'about {duration(left)}'
    folder = Path(runner.work_dir)
    yield 'out', 'goes to', f'{folder}'
    yield 'log', 'log', f'{Path(runner.log_dir) / f"{runner.timestamp}.log"}'


def _ladder(runner: Runner) -> Iterator[tuple[str, str, str]]:
    for hook in runner.hooks:
        ladder = getattr(hook, 'ladder', None)
        if not isinstance(ladder, ClusterLadder):
            continue
        rungs = ladder.rungs
        shown = ', '.join(map(str, rungs))
        text = f'{shown} clusters, {ladder.window} at a time'
        policy = copy.deepcopy(getattr(hook, 'policy', None))
        if policy is not None:
            stays = rungs[ladder.window - 1 : -1]
            fewest, most = policy.epochs_needed(stays)
            begun = hook.warmup_epochs
            text += f'; needs {fewest + begun}'
            text += f' to {most + begun} epochs' if most else ' epochs or more'
        yield 'ladder', 'ladder', text


def duration(seconds: float) -> str:
    """Return a time as people say it.

    Example:
        >>> duration(90), duration(5400)
        ('90 seconds', '90 minutes')
    """
    if seconds < 120:
        return f'{seconds:.0f} seconds'
    if seconds < 7200:
        return f'{seconds / 60:.0f} minutes'
    return f'{seconds / 3600:.1f} hours'


def _consoles(logger: logging.Logger) -> list[logging.Handler]:
    return [h for h in logger.handlers if type(h) is logging.StreamHandler]
