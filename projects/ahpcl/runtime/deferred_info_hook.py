"""mmengine's record of losses, without waiting for each of them."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor


@HOOKS.register_module()
class DeferredInfoHook(RuntimeInfoHook):
    """``RuntimeInfoHook`` that asks the device once per logging interval.

    mmengine reads every loss and accuracy off the device in every iteration,
    and each of them waits for the GPU. Here they stay on it until a line is
    logged, an epoch ends or a checkpoint is written, and are read together.
    The message hub then holds the same values of all iterations. In between
    it does not know the newest ones.

    mmengine keeps a million values of everything that is logged, in memory
    and in every checkpoint, and copies them all to add one. Here the newest
    are kept.

    Args:
        max_history: Values kept of each quantity; smoothing windows and means
            reach no further back. None keeps what mmengine keeps.

    Raises:
        ValueError: If ``max_history`` is not positive.
    """

    def __init__(self, max_history: int | None = 10_000) -> None:
        super().__init__()
        if max_history is not None and max_history < 1:
            raise ValueError(
                'expected max_history of at least 1, or None for all, got '
                f'{max_history}'
            )
        self.max_history = max_history
        self._pending: list[tuple[str, Any]] = []

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep the outputs; write them down when somebody looks."""
        for name, value in (outputs or {}).items():
            if isinstance(value, Tensor):
                value = value.detach()
            self._pending.append((f'train/{name}', value))
        if is_logged(runner, batch_idx):
            self.write_down(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Write down what is left."""
        self.write_down(runner)

    def after_train(self, runner: Runner) -> None:
        """Write down what is left, in a loop without epochs."""
        self.write_down(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Bring the message hub of the checkpoint up to date."""
        if self._pending:
            self.write_down(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()

    def write_down(self, runner: Runner) -> None:
        """Send all that was kept to the message hub, in its order."""
        pending, self._pending = self._pending, []
        for (name, _), value in zip(
            pending, _to_numbers([v for _, v in pending]), strict=True
        ):
            runner.message_hub.update_scalar(name, value)
        if self.max_history is not None:
            # It drops what is too much with the next value.
            for history in runner.message_hub.log_scalars.values():
                history.max_length = min(history.max_length, self.max_history)


def is_logged(runner: Runner, batch_idx: int) -> bool:
    """Whether a line may be logged after this iteration of the training.

    Args:
        runner: The runner; without a ``LoggerHook`` only the ends of epochs
            count.
        batch_idx: Number of the iteration in its epoch.
    """
    loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
    return any(
        hook.every_n_inner_iters(batch_idx, hook.interval) for hook in loggers
    ) or batch_idx + 1 == len(runner.train_dataloader)


def _to_numbers(values: list[Any]) -> list[Any]:
    """Tensors of one element as numbers, with one wait per kind of them."""
    numbers = list(values)
    groups: dict[tuple, list[int]] = {}
    for position, value in enumerate(values):
        if isinstance(value, Tensor) and value.numel() == 1:
            kind = (value.device, value.dtype)
            groups.setdefault(kind, []).append(position)
    for positions in groups.values():
        together = torch.stack([values[p].reshape(()) for p in positions])
        for position, number in zip(positions, together.tolist(), strict=True):
            numbers[position] = number
    return numbers
