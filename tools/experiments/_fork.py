"""Rows that go on from another row's checkpoint: forks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

from _plan import Row
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ahpcl.runtime.optimizer_state import align_optimizer_state
from ahpcl.utils.ranks import unwrap


@HOOKS.register_module(force=True)
class ForkHook(Hook):
    """Takes over weights, optimizer and schedules of another run.

    The clusters, the ladder and the policy are not taken over: they begin as
    the config of this run says. Where the other run had none yet, as in the
    warm-up, the fork is the run from scratch bit for bit.

    Args:
        checkpoint: File of the other run.
    """

    # After the controller has copied the query encoder to the key encoder.
    priority = 'LOWEST'

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def before_train(self, runner: Runner) -> None:
        """Take over the state, unless this run itself is resumed."""
        if runner.epoch or runner.iter:
            return
        runner.resume(self.checkpoint)
        align_optimizer_state(runner.optim_wrapper.optimizer)
        unwrap(runner.model).start_training(runner.seed, runner.iter)


@HOOKS.register_module(force=True)
class StopAfterHook(Hook):
    """Ends a run after an epoch, with the schedules of the whole run.

    Args:
        epochs: How many to train.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def after_train_epoch(self, runner: Runner) -> None:
        """End here if it was the last one."""
        if runner.epoch + 1 >= self.epochs:
            runner.train_loop.stop_training = True


def forked(
    row: Row,
    parent: Row,
    work_dir: Path,
    prepare: Callable[[Row, Path], Config],
) -> ConfigDict:
    """The hook with which a row starts from its parent.

    The parent is trained up to that epoch where its checkpoint is not there.

    Args:
        row: That has ``start_from``.
        parent: The row that it names.
        work_dir: Work folder of all rows.
        prepare: Config of a row in a work folder.
    """
    epoch = row.start_from_epoch
    config = prepare(parent, work_dir / 'parents' / str(epoch))
    checkpoint = Path(config.work_dir) / f'epoch_{epoch}.pth'
    if not checkpoint.is_file():
        config.default_hooks.checkpoint.interval = epoch
        config.custom_hooks = [
            *config.custom_hooks,
            ConfigDict(type='StopAfterHook', epochs=epoch),
        ]
        Runner.from_cfg(copy.deepcopy(config)).train()
    return ConfigDict(type='ForkHook', checkpoint=str(checkpoint))
