"""What a run costs: passes through the encoders and seconds of training."""

from __future__ import annotations

import time
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

_KEY = 'experiment_cost'


@HOOKS.register_module(force=True)
class CostHook(Hook):
    """Counts images through the encoders, and seconds, without validation.

    An image that is learnt from counts as forward and as backward; keys and
    the E-step's extraction as forward alone. A small crop counts as the share
    of its pixels in a full view. What was counted is kept in checkpoints, so
    that a resumed run goes on counting.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._forward = self._backward = 0.0
        self._seconds = 0.0
        self._since: float | None = None
        self._pixels = 0

    def before_train(self, runner: Runner) -> None:
        """Begin to count, from where the checkpoint stands."""
        if _KEY in runner.message_hub.runtime_info:
            known = runner.message_hub.get_info(_KEY)
            self._forward, self._backward, self._seconds = known
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        for module in model.modules():
            if type(module) is type(model.backbone):
                module.register_forward_pre_hook(self._count)
        self._since = time.perf_counter()

    def before_val_epoch(self, runner: Runner) -> None:
        """Stop the clock."""
        self._stop()

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Start it again."""
        self._since = time.perf_counter()

    def after_train(self, runner: Runner) -> None:
        """Stop the clock for good."""
        self._stop()
        self._write(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what was counted."""
        if self._since is not None:
            self._stop()
            self._since = time.perf_counter()
        self._write(runner)
        checkpoint['message_hub'] = runner.message_hub.state_dict()

    def _count(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self._since is None:
            return
        images = inputs[0]
        pixels = images.shape[-1] * images.shape[-2]
        self._pixels = max(self._pixels, pixels)
        passes = len(images) * pixels / self._pixels
        self._forward += passes
        if torch.is_grad_enabled():
            self._backward += passes

    def _stop(self) -> None:
        if self._since is not None:
            self._seconds += time.perf_counter() - self._since
        self._since = None

    def _write(self, runner: Runner) -> None:
        runner.message_hub.update_info(
            _KEY, [self._forward, self._backward, self._seconds]
        )


def cost_of(runner: Runner) -> dict[str, float]:
    """What the hook counted, once training has ended."""
    forward, backward, seconds = runner.message_hub.get_info(_KEY)
    return dict(forward=forward, backward=backward, train_seconds=seconds)
