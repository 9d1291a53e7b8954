"""A hook that says from within which part of a run is at work.

Only for the tools beside it: they inject a kill or a fault at a moment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ahpcl.engine import whole_checkpoint_hook
from ahpcl.engine.adaptive_cluster_hook import AdaptiveClusterHook

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
        for name, moment in (('_write', 'checkpoint'), ('_point', 'pointer')):
            work = getattr(whole_checkpoint_hook, name)
            setattr(whole_checkpoint_hook, name, self._told(work, moment))

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
