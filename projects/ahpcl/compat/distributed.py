"""Several processes on a machine without an accelerator."""

from __future__ import annotations

import atexit
import functools
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.dist import utils as dist_utils
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from torch import nn

from .fix import Fix

_LAUNCHERS = ('_init_dist_pytorch', '_init_dist_slurm', '_init_dist_mpi')


def _on_cpu(module: nn.Module) -> bool:
    """Tells whether all parameters of a module are on the CPU."""
    return all(p.device.type == 'cpu' for p in module.parameters())


@contextmanager
def _no_cuda_device() -> Iterator[None]:
    """Makes ``torch.cuda.set_device`` do nothing within the context."""
    original = torch.cuda.set_device
    torch.cuda.set_device = lambda device: None
    try:
        yield
    finally:
        torch.cuda.set_device = original


def _init_dist(original: Any) -> Any:
    """Wraps one of mmengine's launchers for machines without CUDA."""

    @functools.wraps(original)
    def init_dist(backend: str, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            return original(backend, **kwargs)
        os.environ.setdefault('SLURM_LOCALID', '0')
        with _no_cuda_device():
            return original('gloo' if backend == 'nccl' else backend, **kwargs)

    init_dist._ahpcl = True  # type: ignore[attr-defined]
    return init_dist


def _launcher_needed(name: str) -> bool:
    """Tells whether a launcher sets a CUDA device without checking for one."""
    function = getattr(dist_utils, name)
    if hasattr(function, '_ahpcl'):
        return False
    names = function.__code__.co_names
    return 'set_device' in names and 'is_cuda_available' not in names


def _gloo_needed() -> bool:
    if get_device() != 'cpu':
        return False
    return any(_launcher_needed(name) for name in _LAUNCHERS)


def _gloo_apply() -> None:
    for name in _LAUNCHERS:
        if _launcher_needed(name):
            setattr(dist_utils, name, _init_dist(getattr(dist_utils, name)))


def _leave() -> None:
    """Ends the process group while the interpreter can still do it."""
    gc.collect()  # a wrapped model holds the group too
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _then_leave(original: Any) -> Any:
    """Wraps one of mmengine's launchers to end its group at the exit."""

    @functools.wraps(original)
    def init_dist(backend: str, **kwargs: Any) -> None:
        original(backend, **kwargs)
        atexit.register(_leave)

    init_dist._ahpcl_leaves = True  # type: ignore[attr-defined]
    return init_dist


def _leave_needed() -> bool:
    return dist.is_available() and not all(
        hasattr(getattr(dist_utils, name), '_ahpcl_leaves')
        for name in _LAUNCHERS
    )


def _leave_apply() -> None:
    for name in _LAUNCHERS:
        setattr(dist_utils, name, _then_leave(getattr(dist_utils, name)))


def _wrap_init(change: Any) -> None:
    """Puts ``change(module, kwargs)`` before the wrapper's constructor."""
    original = MMDistributedDataParallel.__init__

    @functools.wraps(original)
    def __init__(  # noqa: N807
        self: Any, module: nn.Module, *args: Any, **kwargs: Any
    ) -> None:
        if _on_cpu(module):
            module, kwargs = change(module, kwargs)
        original(self, module, *args, **kwargs)

    changes = getattr(original, '_ahpcl', ())
    __init__._ahpcl = (*changes, change)  # type: ignore[attr-defined]
    MMDistributedDataParallel.__init__ = __init__


def _drop_device_ids(module: nn.Module, kwargs: dict) -> tuple:
    """Drops the device list, which a model on the CPU must not have."""
    return module, {**kwargs, 'device_ids': None, 'output_device': None}


def _revert_batch_norm(module: nn.Module, kwargs: dict) -> tuple:
    """Takes synchronised batch norm out, which the CPU does not support."""
    if any(isinstance(m, nn.SyncBatchNorm) for m in module.modules()):
        print_log(
            'SyncBatchNorm works on CUDA devices only: on the CPU every '
            'process normalises over its own share of the batch',
            logger='current',
        )
        module = revert_sync_batchnorm(module)
    return module, kwargs


def _wrapper_needed(change: Any) -> bool:
    if get_device() != 'cpu':
        return False
    changes = getattr(MMDistributedDataParallel.__init__, '_ahpcl', ())
    return change not in changes


GLOO_WITHOUT_CUDA = Fix(
    name='gloo-without-cuda',
    symptom=(
        'RuntimeError: Found no NVIDIA driver, or nccl without GPUs, from '
        'init_dist under torchrun, Slurm or MPI on a CPU machine'
    ),
    upstream='mmengine 0.10.7 dist/utils.py; no thread known',
    needed=_gloo_needed,
    apply=_gloo_apply,
)

PROCESS_GROUP_LEFT = Fix(
    name='process-group-left',
    symptom=(
        'terminate called without an active exception (SIGABRT), now and '
        'then, after the last epoch of several processes: the threads of '
        'the group outlive the interpreter'
    ),
    upstream='mmengine 0.10.7 dist/utils.py init_dist; no thread known',
    needed=_leave_needed,
    apply=_leave_apply,
)

DDP_DEVICE_IDS = Fix(
    name='ddp-device-ids',
    symptom=(
        'ValueError: DistributedDataParallel device_ids ... [0], for a '
        'model on the CPU'
    ),
    upstream='mmengine 0.10.7 runner/runner.py wrap_model; no thread known',
    needed=lambda: _wrapper_needed(_drop_device_ids),
    apply=lambda: _wrap_init(_drop_device_ids),
)

SYNC_BATCH_NORM = Fix(
    name='sync-batch-norm',
    symptom=(
        'ValueError: SyncBatchNorm layers only work with GPU modules, for '
        "several processes on the CPU (mmselfsup's necks default to it)"
    ),
    upstream='mmengine 0.10.7 runner/runner.py wrap_model; no thread known',
    needed=lambda: _wrapper_needed(_revert_batch_norm),
    apply=lambda: _wrap_init(_revert_batch_norm),
)
