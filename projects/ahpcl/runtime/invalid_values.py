"""What happens when training leaves the range of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ahpcl.runtime.deferred_info_hook import is_logged


@contextmanager
def explained_invalid_values(runner: Runner) -> Iterator[None]:
    """Within, a FloatingPointError says where to go on from, and how.

    Args:
        runner: Its hooks know the last good checkpoint.

    Raises:
        FloatingPointError: Where one was raised: with what was found, the
            last good checkpoint and remedies.
    """
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(
            f'expected finite numbers, got {error}. {_last_good(runner)}. '
            'Remedies: a lower learning rate (optim_wrapper.optimizer.lr), '
            'gradient clipping (optim_wrapper.clip_grad), a longer warm-up, '
            'or float32 in place of bfloat16 (no --amp, and --cfg-options '
            'optim_wrapper.type=OptimWrapper)'
        ) from error


def _last_good(runner: Runner) -> str:
    hooks = [h for h in runner.hooks if hasattr(h, 'last_good')]
    pointer = Path(runner.work_dir) / 'last_checkpoint'
    last = None
    if hooks:  # knows what is of this run
        last = hooks[0].last_good
    elif pointer.is_file():
        last = pointer.read_text().strip()
    if last is None:
        return 'No checkpoint was written yet'
    return f'The last good checkpoint is {last}'


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Raise at a NaN or infinite loss, before a checkpoint is written.

    On the CPU every iteration is checked. On a GPU the check waits for the
    device, so it is made when a line is logged, where mmengine waits anyway,
    and at the end of an epoch; it still names the first bad iteration.

    Raises:
        FloatingPointError: During training, which
            :func:`explained_invalid_values` explains.
    """

    # Before the checkpoint hook, whatever it is set to.
    priority = 'HIGH'

    def __init__(self) -> None:
        self._first_bad: Tensor | None = None

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the loss of the iteration."""
        loss = torch.as_tensor(outputs['loss']).detach()
        bad = ~torch.isfinite(loss)
        now = torch.where(bad, runner.iter, -1)
        before = now if self._first_bad is None else self._first_bad
        self._first_bad = torch.where(before < 0, now, before)
        if not loss.is_cuda or is_logged(runner, batch_idx):
            self._check(runner, outputs)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look once more before the checkpoint of the epoch."""
        self._check(runner, {})

    def _check(self, runner: Runner, outputs: dict) -> None:
        first = -1 if self._first_bad is None else int(self._first_bad)
        if first < 0:
            return
        parts = ', '.join(
            f'{name}={float(value):g}'
            for name, value in outputs.items()
            if 'loss' in name
        )
        found = f'a loss of NaN or infinity at iteration {first}'
        found += f' of epoch {runner.epoch}'
        if parts:
            found += f' (now {parts})'
        raise FloatingPointError(found)
