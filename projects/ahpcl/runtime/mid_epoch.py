"""Epochs that go on where a checkpoint was written within them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import BatchSampler, DataLoader, Sampler

from ahpcl.runtime.train_state import TrainState
from ahpcl.utils.ranks import unwrap


def continues_epoch(runner: Runner) -> bool:
    """Whether an epoch begins that was begun before the run was resumed.

    What a hook does before an epoch was done then: its results are in the
    checkpoint.
    """
    return getattr(runner.train_loop, 'first_batch', None) is not None


def keep_epoch(runner: Runner, state: TrainState) -> None:
    """Declare what a loop needs to go on within an epoch.

    The number of images and the size of batches, which must be the same
    again; and of every rank the running statistics of batch norm, and
    gradients where several steps make one update.

    Args:
        runner: The runner.
        state: The state of the run.

    Raises:
        ValueError: If the run is resumed with another number of ranks, other
            batches or another number of images.
    """
    model = unwrap(runner.model)

    def check_data(kept: dict) -> None:
        for name, now in data_sizes(runner).items():
            before = kept.get(name, now)
            if before != now:
                raise ValueError(
                    f'expected to go on within an epoch with {name} {before}, '
                    f'as in the checkpoint, got {now}; set it back, or name '
                    'the checkpoint of an epoch with --resume FILE'
                )

    def statistics() -> dict:
        return {
            name: (module.running_mean, module.running_var)
            for name, module in _tracking(model)
        }

    def set_statistics(kept: dict) -> None:
        for name, module in _tracking(model):
            mean, variance = kept[name]
            module.running_mean.copy_(mean)
            module.running_var.copy_(variance)

    def gradients() -> dict | None:
        if not _accumulates(runner):
            return None
        return {
            name: value.grad
            for name, value in model.named_parameters()
            if value.grad is not None
        }

    def set_gradients(kept: dict) -> None:
        for name, value in model.named_parameters():
            if name in kept:
                value.grad = kept[name].to(value)

    state.keep(
        'data', lambda: data_sizes(runner), check_data, within_epoch=True
    )
    own = dict(per_rank=True, within_epoch=True)
    state.keep('batch_norm', statistics, set_statistics, **own)
    state.keep('gradients', gradients, set_gradients, **own)


@contextmanager
def without_first(loader: DataLoader, batches: int) -> Iterator[Iterable[Any]]:
    """A loader without its first batches, which are not loaded.

    Args:
        loader: The loader. If its batch sampler is not torch's own, the
            first batches are loaded and dropped.
        batches: How many batches were done.

    Yields:
        The other batches, in the order that they have.
    """
    inner = loader.batch_sampler
    if not batches:
        yield loader
    elif type(inner) is BatchSampler:
        complete = inner.sampler
        inner.sampler = _Rest(complete, batches * inner.batch_size)
        try:
            yield loader
        finally:
            inner.sampler = complete
    else:
        yield islice(iter(loader), batches, None)


class _Rest(Sampler):
    """A sampler without its first indices, which still count as length."""

    def __init__(self, complete: Sampler, skipped: int) -> None:
        self._complete = complete
        self._skipped = skipped

    def __iter__(self) -> Iterator[int]:
        return islice(iter(self._complete), self._skipped, None)

    def __len__(self) -> int:
        return len(self._complete)


def data_sizes(runner: Runner) -> dict[str, int]:
    """What must be the same again to go on within an epoch."""
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


def _tracking(model: nn.Module) -> list[tuple[str, _BatchNorm]]:
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
