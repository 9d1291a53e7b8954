"""What changes while SwAV trains: the queue's start, frozen prototypes."""

from typing import Any

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ahpcl.baselines.swav import SwAVBaseline
from ahpcl.baselines.swav_loss import SwappedPredictionLoss
from ahpcl.models.protocols import require
from ahpcl.runtime.optimizer_state import forget_steps
from ahpcl.utils.ranks import sync_batch_norm_stats
from ahpcl.utils.unwrap import unwrap

_KEY = 'swav'


@HOOKS.register_module()
class SwAVScheduleHook(Hook):
    """Starts the queue, and keeps the prototypes fixed at first.

    Caron et al., NeurIPS 2020, appendix A. The queues of all ranks are in the
    checkpoint under ``swav``, as every rank has its own, and are restored on
    resume with as many ranks; with another number they fill anew. Takes the
    place of the host's ``SwAVHook``, which needs CUDA and keeps the queue in
    files beside the checkpoints.

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
        self._all_queues: Tensor | None = None
        self._resumed: dict | None = None

    def before_train(self, runner: Runner) -> None:
        """Restore the queue on resume."""
        loss = self._loss(runner)
        if self._resumed is None or self._resumed['queues'] is None:
            return
        queues = self._resumed['queues']
        expected = (get_world_size(), *loss.queue.shape)
        if tuple(queues.shape) != expected:
            runner.logger.warning(
                f'expected queues of the shape {expected} in the checkpoint, '
                f'got {tuple(queues.shape)}: they fill anew'
            )
            return
        loss.queue.copy_(queues[get_rank()])
        loss.queue_filled = self._resumed['filled']
        self._all_queues = queues

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

    def after_train_epoch(self, runner: Runner) -> None:
        """Gather what the checkpoint keeps, on all ranks."""
        sync_batch_norm_stats(unwrap(runner.model))
        self._gather(runner)

    def _gather(self, runner: Runner) -> None:
        loss = self._loss(runner)
        if loss.queue_started and loss.queue.numel():
            self._all_queues = torch.stack(all_gather(loss.queue)).cpu()

    def rank_state(self, runner: Runner) -> dict:
        """Gather the queues for a checkpoint within an epoch, too."""
        self._gather(runner)
        return {}

    def restore_rank_state(self, state: dict) -> None:
        """Nothing: the queues are restored before training."""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the queues; runs on rank 0 only."""
        checkpoint[_KEY] = dict(
            queues=self._all_queues,
            filled=self._loss(runner).queue_filled,
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the state for :meth:`before_train`, on resume only."""
        if getattr(runner, '_resume', False):
            self._resumed = checkpoint.get(_KEY)

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
