"""How the features of the E-step are computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

Inputs = Tensor | Sequence[Tensor]

PRECISIONS = ('auto', 'float32', 'bfloat16')


@dataclass(frozen=True)
class ExtractionSettings:
    """Precision of the encoder's pass over all images.

    Features leave the encoder as float32 in any case. On CUDA devices images
    are laid out channels last.

    Attributes:
        precision: Precision of the encoder: ``'float32'``, ``'bfloat16'``
            (autocast), or ``'auto'``, which is bfloat16 on CUDA devices that
            compute in it, else float32.

    Raises:
        ValueError: for another precision.
    """

    precision: str = 'float32'

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f'expected extraction.precision to be one of {PRECISIONS}, '
                f'got {self.precision!r}'
            )

    @contextmanager
    def computing(self, device: torch.device) -> Iterator[None]:
        """Autocast the encoder, or do not."""
        half = self.precision == 'bfloat16' or (
            self.precision == 'auto'
            and device.type == 'cuda'
            and torch.cuda.is_bf16_supported(including_emulation=False)
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            yield

    def laid_out(self, inputs: Inputs, device: torch.device) -> Inputs:
        """The images in the memory layout to use."""
        if device.type != 'cuda':
            return inputs
        if isinstance(inputs, Tensor):
            return inputs.contiguous(memory_format=torch.channels_last)
        return [
            view.contiguous(memory_format=torch.channels_last)
            for view in inputs
        ]
