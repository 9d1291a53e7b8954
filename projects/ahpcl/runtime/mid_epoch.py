"""Epochs that go on where a checkpoint was written within them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import BatchSampler, DataLoader, Sampler

from ahpcl.utils.unwrap import unwrap


def continues_epoch(runner: Runner) -> bool:
    """Whether an epoch begins that was begun before the run was resumed.

    What a hook does before an epoch was done then: its results are in the
    checkpoint.
    """
    return getattr(runner.train_loop, 'first_batch', None) is not None


def gathered_state(runner: Runner) -> list[dict]:
    """What belongs to each rank within an epoch; a collective call.

    Running statistics of batch norm, what the hooks that have
    ``rank_state`` give, the batches, and gradients where several steps
    make one update.

    Returns:
        One for each rank.
    """
    buffers = {
        name: (module.running_mean.cpu(), module.running_var.cpu())
        for name, module in _tracking(runner)
    }
    hooks = {
        type(hook).__name__: hook.rank_state(runner)
        for hook in runner.hooks
        if hasattr(hook, 'rank_state')
    }
    gradients = {}
    if _accumulates(runner):
        gradients = {
            name: value.grad.cpu()
            for name, value in unwrap(runner.model).named_parameters()
            if value.grad is not None
        }
    return all_gather_object(
        dict(
            buffers=buffers,
            hooks=hooks,
            batches=_batches(runner),
            gradients=gradients,
        )
    )


def restore_state(runner: Runner, ranks: list[dict]) -> None:
    """Give this rank its part of what :func:`gathered_state` gave.

    Raises:
        ValueError: If they were another number of ranks, or the batches or
            the number of images were others.
    """
    if len(ranks) != get_world_size():
        raise ValueError(
            f'expected to go on within an epoch with {len(ranks)} '
            f'process(es), as in the checkpoint, got {get_world_size()}; '
            f'start {len(ranks)}, or name the checkpoint of an epoch with '
            '--resume FILE'
        )
    own = ranks[get_rank()]
    for name, now in _batches(runner).items():
        before = own.get('batches', {}).get(name, now)
        if before != now:
            raise ValueError(
                f'expected to go on within an epoch with {name} {before}, as '
                f'in the checkpoint, got {now}; set it back, or name the '
                'checkpoint of an epoch with --resume FILE'
            )
    for name, module in _tracking(runner):
        mean, variance = own['buffers'][name]
        module.running_mean.copy_(mean)
        module.running_var.copy_(variance)
    for hook in runner.hooks:
        if type(hook).__name__ in own['hooks']:
            hook.restore_rank_state(own['hooks'][type(hook).__name__])

    for name, value in unwrap(runner.model).named_parameters():
        if name in own.get('gradients', {}):
            value.grad = own['gradients'][name].to(value)


@contextmanager
def without_first(loader: DataLoader, batches: int) -> Iterator[Iterable[Any]]:
    """A loader without its first batches, which are not loaded.

    Args:
        loader: With a batch sampler of its own they are loaded and dropped.
        batches: That were done.

    Yields:
        The other batches, in the order that they have.
    """
    inner = loader.batch_sampler
    if not batches:
        yield loader
    elif type(inner) is BatchSampler:
        whole = inner.sampler
        inner.sampler = _Rest(whole, batches * inner.batch_size)
        try:
            yield loader
        finally:
            inner.sampler = whole
    else:
        yield islice(iter(loader), batches, None)


class _Rest(Sampler):
    """A sampler without its first indices; its length is the whole's."""

    def __init__(self, whole: Sampler, skipped: int) -> None:
        self._whole = whole
        self._skipped = skipped

    def __iter__(self) -> Iterator[int]:
        return islice(iter(self._whole), self._skipped, None)

    def __len__(self) -> int:
        return len(self._whole)


def _batches(runner: Runner) -> dict[str, int]:
    loader = runner.train_loop.dataloader
    sizes = dict(images=len(loader.dataset))
    inner = loader.batch_size or getattr(
        loader.batch_sampler, 'batch_size', None
    )
    return sizes if inner is None else dict(sizes, batch_size=inner)


def _accumulates(runner: Runner) -> bool:
    wrapper = runner.optim_wrapper
    several = isinstance(wrapper, OptimWrapperDict)
    return any(
        getattr(one, '_accumulative_counts', 1) > 1
        for one in (wrapper.values() if several else [wrapper])
    )


def _tracking(runner: Runner) -> list[tuple[str, _BatchNorm]]:
    return [
        (name, module)
        for name, module in unwrap(runner.model).named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
