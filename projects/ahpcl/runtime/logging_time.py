"""When the host's logger writes a line."""

from mmengine.hooks import LoggerHook
from mmengine.runner import Runner


def is_logged(runner: Runner, batch_idx: int) -> bool:
    """Whether a line may be logged after this iteration of the training.

    Args:
        runner: With its hooks; without a ``LoggerHook`` the ends of epochs
            count alone.
        batch_idx: Of the iteration in its epoch.
    """
    loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
    return any(
        hook.every_n_inner_iters(batch_idx, hook.interval) for hook in loggers
    ) or batch_idx + 1 == len(runner.train_dataloader)
