"""Mixed precision in bfloat16, on the CPU and on CUDA devices."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn
from torch.optim import Optimizer

_CPUINFO = Path('/proc/cpuinfo')  # of Linux


def _device_type(model: nn.Module) -> str:
    """The kind of device that a model's parameters live on."""
    parameter = next(model.parameters(), None)
    return 'cpu' if parameter is None else parameter.device.type


def has_bf16_instructions(device: str = 'cpu') -> bool:
    """Tell whether a kind of device is faster in bfloat16 than in float32.

    Args:
        device: Its type in torch, such as ``'cpu'`` or ``'cuda'``.

    Returns:
        For a CPU whether it has AVX512-BF16 or AMX, or, not being an x86,
        bfloat16 that oneDNN uses. oneDNN takes bfloat16 on every x86 with
        AVX-512, but without those it converts each value. False for
        devices other than CPUs and CUDA's.
    """
    if device == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != 'cpu':
        return False
    if platform.machine().lower() not in ('x86_64', 'amd64'):
        # There is no such operator where torch is built without oneDNN.
        probe = getattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', bool)
    elif _CPUINFO.is_file():
        return 'avx512_bf16' in _CPUINFO.read_text('utf-8', 'replace')
    else:  # not in torch 2.4 and 2.5
        probe = getattr(torch.cpu, '_is_avx512_bf16_supported', bool)
    return bool(probe())


def use_bf16(wrapper: dict) -> None:
    """Make the settings of an optimizer wrapper those of bfloat16.

    Args:
        wrapper: Of mmengine's ``OptimWrapper`` or ``AmpOptimWrapper``;
            changed in place.
    """
    for key in ('loss_scale', 'dtype', 'use_fsdp'):  # AmpOptimWrapper's
        wrapper.pop(key, None)
    wrapper['type'] = BF16OptimWrapper.__name__


@OPTIM_WRAPPERS.register_module()
class BF16OptimWrapper(OptimWrapper):
    """Runs the forward pass under bfloat16 autocast.

    Parameters, gradients and the optimizer stay in float32. bfloat16 has
    float32's range, so no gradient is scaled. mmengine's
    ``AmpOptimWrapper`` asks for a GPU; this one runs on the CPU as well.
    Where the device has no instructions for bfloat16, see
    :func:`has_bf16_instructions`, it computes in float32 and warns once.

    Args:
        optimizer: The optimizer.
        accumulative_counts: Iterations whose gradients are summed before
            each step.
        clip_grad: Settings of clipping, see mmengine's ``OptimWrapper``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
    ):
        super().__init__(
            optimizer=optimizer,
            accumulative_counts=accumulative_counts,
            clip_grad=clip_grad,
        )
        self._checked: str | None = None
        self._enabled = False

    def _check(self, device: str) -> None:
        """Find out whether the device has bfloat16; say it if not."""
        self._checked = device
        self._enabled = has_bf16_instructions(device)
        if not self._enabled:
            print_log(
                f'this training computes in float32: its device ({device}) '
                'has no instructions for bfloat16 (AMX or AVX512-BF16 on an '
                'x86 CPU, a CUDA device from Ampere on), and would be slower '
                'in it',
                logger='current',
                level=logging.WARNING,
            )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocasts the forward pass of an iteration.

        Args:
            model: The model, wrapped or not.

        Yields:
            Nothing; gradients are synchronised as in mmengine.
        """
        device = _device_type(model)
        if device != self._checked:
            self._check(device)
        autocast = (
            torch.autocast(device_type=device, dtype=torch.bfloat16)
            if self._enabled
            else nullcontext()
        )
        with super().optim_context(model), autocast:
            yield
