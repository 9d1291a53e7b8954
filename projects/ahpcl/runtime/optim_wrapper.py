"""Mixed precision in bfloat16, on the CPU and on CUDA devices."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn
from torch.optim import Optimizer


def _device_type(model: nn.Module) -> str:
    """The kind of device that a model's parameters live on."""
    parameter = next(model.parameters(), None)
    return 'cpu' if parameter is None else parameter.device.type


def has_bf16_instructions() -> bool:
    """Tell whether convolutions on this CPU are fast in bfloat16."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@OPTIM_WRAPPERS.register_module()
class BF16OptimWrapper(OptimWrapper):
    """Runs the forward pass under bfloat16 autocast.

    Parameters, gradients and the optimizer stay in float32. bfloat16 has
    float32's range, so no gradient is scaled. mmengine's
    ``AmpOptimWrapper`` asks for a GPU; this one runs on the CPU as well.

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

    def _check(self, device: str) -> None:
        """Checks once whether the device computes in bfloat16, and well."""
        self._checked = device
        if device == 'cpu' and not has_bf16_instructions():
            print_log(
                'bfloat16 on this CPU, which has no instructions for it (AMX, '
                'AVX512-BF16), takes a hundred times as long as float32; '
                "train without --amp (optim_wrapper type 'OptimWrapper')",
                logger='current',
                level=logging.WARNING,
            )
        elif device == 'cuda' and not torch.cuda.is_bf16_supported():
            raise ValueError(
                'expected a CUDA device that computes in bfloat16, got '
                f'{torch.cuda.get_device_name()}; train without --amp '
                "(optim_wrapper type 'OptimWrapper')"
            )
        elif device not in ('cpu', 'cuda'):
            raise ValueError(
                f'expected a model on the CPU or a CUDA device, got {device}; '
                "train without --amp (optim_wrapper type 'OptimWrapper')"
            )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocasts the forward pass of an iteration.

        Args:
            model: The model, wrapped or not.

        Yields:
            Nothing; gradients are synchronised as in mmengine.

        Raises:
            ValueError: If the model's device does not compute in bfloat16.
        """
        device = _device_type(model)
        if device != self._checked:
            self._check(device)
        with (
            super().optim_context(model),
            torch.autocast(device_type=device, dtype=torch.bfloat16),
        ):
            yield
