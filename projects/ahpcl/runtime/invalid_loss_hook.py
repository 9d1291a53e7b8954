"""Stops a run whose loss is no number any more."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ahpcl.runtime.invalid_values import invalid_value_message
from ahpcl.runtime.logging_time import is_logged


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Raise at a NaN or infinite loss, before a checkpoint is written.

    On the CPU every iteration is checked. On a GPU the check waits for the
    device, so it is made when a line is logged, where the host waits anyway,
    and at the end of an epoch; it still names the first bad iteration.

    Args:
        interval: Iterations between two checks on a GPU; None for those of
            the log.

    Raises:
        FloatingPointError: during training, with the last good checkpoint.
    """

    # Before the checkpoint hook, whatever it is set to.
    priority = 'HIGH'

    def __init__(self, interval: int | None = None) -> None:
        if interval is not None and interval < 1:
            raise ValueError(
                'expected an interval of at least 1, or None for that of the '
                f'log, got {interval}'
            )
        self.interval = interval
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
        if not loss.is_cuda or self._due(runner, batch_idx):
            self._check(runner, outputs)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look once more before the checkpoint of the epoch."""
        self._check(runner, {})

    def _due(self, runner: Runner, batch_idx: int) -> bool:
        if self.interval is None:
            return is_logged(runner, batch_idx)
        return (runner.iter + 1) % self.interval == 0

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
        raise FloatingPointError(invalid_value_message(runner, found))
