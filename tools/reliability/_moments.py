"""Hooks that say which part of a run is at work, and that break one.

Only for the tools beside it: they inject a kill or a fault at a moment.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ahpcl.engine.adaptive_cluster_hook import AdaptiveClusterHook
from ahpcl.runtime import atomic_checkpoint_hook

#: What is told apart.
MOMENTS = (
    'step',
    'extraction',
    'clustering',
    'policy',
    'checkpoint',
    'pointer',
    'validation',
)


@HOOKS.register_module()
class MomentHook(Hook):
    """Appends ``begin NAME`` and ``end NAME SECONDS`` to a file, on rank 0.

    Args:
        path: Of the file.
    """

    priority = 'LOWEST'

    def __init__(self, path: str) -> None:
        self.path = path

    def before_train(self, runner: Runner) -> None:
        """Wrap the parts of the run."""
        if runner.rank != 0:
            return
        estep = next(
            hook
            for hook in runner.hooks
            if isinstance(hook, AdaptiveClusterHook)
        )
        wrapped: list[tuple[Any, str, str]] = [
            (runner.model, 'train_step', 'step'),
            (estep._estep, '_features', 'extraction'),
            (estep._estep, '_in_parts', 'clustering'),
            (estep._estep, '_on_rank_0', 'clustering'),
            (estep.policy, 'step', 'policy'),
            (runner.val_loop, 'run', 'validation'),
        ]
        for owner, name, moment in wrapped:
            setattr(owner, name, self._told(getattr(owner, name), moment))
        writing = (('write_checkpoint', 'checkpoint'), ('point', 'pointer'))
        for name, moment in writing:
            work = getattr(atomic_checkpoint_hook, name)
            setattr(atomic_checkpoint_hook, name, self._told(work, moment))

    def _told(self, work: Callable[..., Any], moment: str) -> Any:
        @wraps(work)
        def told(*args: Any, **kwargs: Any) -> Any:
            self._say(f'begin {moment}')
            start = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                self._say(f'end {moment} {time.perf_counter() - start:.6f}')

        return told

    def _say(self, text: str) -> None:
        with open(self.path, 'ab', buffering=0) as file:
            file.write(f'{text}\n'.encode())
            os.fsync(file.fileno())


@HOOKS.register_module()
class FaultHook(Hook):
    """One fault, named by the environment: ``AHPCL_FAULT=kind:step:rank``.

    Args:
        once: File that is there after the fault, which then does not come
            again.
    """

    priority = 'VERY_LOW'

    def __init__(self, once: str) -> None:
        kind, step, rank = os.environ.get('AHPCL_FAULT', ':-1:0').split(':')
        self.kind, self.step, self.rank = kind, int(step), int(rank)
        self.once = Path(once)

    def before_train(self, runner: Runner) -> None:
        """Let the clustering, or the validation, fail from a step on."""
        if not self._mine(runner):
            return
        if self.kind == 'validation':
            loop = runner.val_loop
            loop.run = self._failing(runner, loop.run)
        if self.kind != 'clustering':
            return
        estep = next(
            hook
            for hook in runner.hooks
            if isinstance(hook, AdaptiveClusterHook)
        )
        for name in ('_on_rank_0', '_in_parts'):
            work = getattr(estep._estep, name)
            setattr(estep._estep, name, self._failing(runner, work))

    def _failing(self, runner: Runner, work: Callable[..., Any]) -> Any:
        @wraps(work)
        def fail(*args: Any, **kwargs: Any) -> Any:
            if runner.iter >= self.step and self._first():
                raise RuntimeError(f'the {self.kind} is out of order')
            return work(*args, **kwargs)

        return fail

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Do what was asked for."""
        if runner.iter != self.step or not self._mine(runner):
            return
        if self.kind not in FAULTS or not self._first():
            return
        FAULTS[self.kind](runner)

    def _mine(self, runner: Runner) -> bool:
        return runner.rank == self.rank

    def _first(self) -> bool:
        if self.once.exists():
            return False
        self.once.touch()
        return True


def _spoil_a_weight(runner: Runner) -> None:
    with torch.no_grad():
        next(runner.model.parameters()).fill_(float('nan'))


FAULTS: dict[str, Callable[[Runner], None]] = {
    'loader': lambda _: [
        os.kill(child.pid, signal.SIGKILL)
        for child in multiprocessing.active_children()
    ],
    'nan': _spoil_a_weight,
    'dead': lambda _: os.kill(os.getpid(), signal.SIGKILL),
    'slow': lambda _: time.sleep(3600),
    'late': lambda _: time.sleep(10),
    # The name of the checkpoint is there, its bytes are not.
    'disk': lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (2**16,) * 2),
}
