"""What changes while SwAV trains: the queue's start, frozen prototypes."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ahpcl.baselines.swav import SwAVBaseline
from ahpcl.baselines.swav_loss import SwappedPredictionLoss
from ahpcl.models.protocols import require
from ahpcl.runtime.optimizer_state import forget_steps
from ahpcl.runtime.train_state import TrainState
from ahpcl.utils.ranks import unwrap


@HOOKS.register_module()
class SwAVScheduleHook(Hook):
    """Starts the queue, and keeps the prototypes fixed at first.

    Caron et al., NeurIPS 2020, appendix A. The queue of every rank is part of
    the :class:`TrainState`; on resume with another number of ranks the queues
    fill again. Takes the place of mmselfsup's ``SwAVHook``, which needs CUDA
    and keeps the queue in files beside the checkpoints.

    Args:
        queue_start_epoch: Epoch, from 0, from which features are kept.
        freeze_iters: Iterations during which prototypes do not move.

    Raises:
        ValueError: for negative numbers, or a model without the loss.
    """

    def __init__(
        self, queue_start_epoch: int = 15, freeze_iters: int = 0
    ) -> None:
        if queue_start_epoch < 0 or freeze_iters < 0:
            raise ValueError(
                'expected queue_start_epoch and freeze_iters of at least 0, '
                f'got {queue_start_epoch} and {freeze_iters}'
            )
        self.queue_start_epoch = queue_start_epoch
        self.freeze_iters = freeze_iters
        self._kept: list[Tensor] = []

    def before_run(self, runner: Runner) -> None:
        """Let there be a state before a checkpoint is loaded."""
        TrainState.of(runner)

    def before_train(self, runner: Runner) -> None:
        """Declare the queue as state."""
        loss = self._loss(runner)

        def queue() -> dict | None:
            if not loss.queue_filled:
                return None
            return dict(features=loss.queue, filled=loss.queue_filled)

        def set_queue(kept: dict) -> None:
            found, expected = kept['features'].shape, loss.queue.shape
            if found != expected:
                runner.logger.warning(
                    f'expected a queue of the shape {tuple(expected)} in the '
                    f'checkpoint, got {tuple(found)}: it fills again'
                )
                return
            loss.queue.copy_(kept['features'])
            loss.queue_filled = kept['filled']

        TrainState.of(runner).keep('queue', queue, set_queue, per_rank=True)

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the queue when it is time."""
        started = runner.epoch >= self.queue_start_epoch
        self._loss(runner).queue_started = started

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Remember prototypes that must not move."""
        self._kept = []
        if runner.iter < self.freeze_iters:
            weights = self._loss(runner).weights()
            self._kept = [weight.detach().clone() for weight in weights]

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Put them back, and let the optimizer forget the step."""
        if not self._kept:
            return
        weights = list(self._loss(runner).weights())
        with torch.no_grad():
            for weight, kept in zip(weights, self._kept, strict=True):
                weight.copy_(kept)
        forget_steps(runner.optim_wrapper.optimizer, weights)

    def _loss(self, runner: Runner) -> SwappedPredictionLoss:
        model = require(
            unwrap(runner.model),
            SwAVBaseline,
            "a model of type 'SwAVBaseline'",
            'leave the SwAVScheduleHook out of custom_hooks',
        )
        return require(
            model.head.loss,
            SwappedPredictionLoss,
            "model.head.loss of type 'SwappedPredictionLoss'",
            "set model.head.loss=dict(type='SwappedPredictionLoss', ...)",
        )
