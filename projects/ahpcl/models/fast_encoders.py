"""How the encoders of a contrastive method compute: layout and compiler."""

import functools
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEMORY_FORMATS = ('auto', 'contiguous', 'channels_last')

# Output channels of the first convolution up to which a CPU is faster with
# channels last.
_THIN = 32


def encode(backbone: nn.Module, neck: nn.Module, images: Tensor) -> Tensor:
    """Unit rows (B, D) in float32 of images (B, C, H, W)."""
    return F.normalize(neck(backbone(images))[0].float(), dim=1)


@functools.cache
def compiled_encode() -> Callable[[nn.Module, nn.Module, Tensor], Tensor]:
    """:func:`encode` through ``torch.compile``.

    Every size of views, keys, and a last batch that is smaller are compiled
    on their own, which takes up to a minute each. What comes after torch's
    ``torch._dynamo.config.recompile_limit`` is encoded uncompiled, so that
    odd sizes do not compile for ever.
    """
    return torch.compile(encode, dynamic=False)


class FastEncoders:
    """Mixin: a query and a key encoder in a memory format, compiled or not.

    For subclasses of :class:`torch.nn.Module`, before the module among the
    bases. Neither option changes the names in a checkpoint, nor, but for
    rounding, what is computed. The format follows the model to its device, so
    before a parallel wrapper and an optimizer see the parameters.
    """

    backbone: nn.Module
    neck: nn.Module
    encoder_k: nn.Module
    _format: torch.memory_format

    def set_up_encoders(self, memory_format: str, compile: bool) -> None:
        """Call once all encoders are built.

        Args:
            memory_format: See :func:`choose_memory_format`.
            compile: Whether images are encoded by :func:`compiled_encode`.

        Raises:
            ValueError: for an unknown memory format.
        """
        self.memory_format = memory_format
        self.compiled = compile
        self._pairs: tuple[list[Tensor], list[Tensor]] | None = None
        self._use_format()

    def encode_unit(
        self, backbone: nn.Module, neck: nn.Module, images: Tensor
    ) -> Tensor:
        """Unit rows (B, D) in float32 of images (B, C, H, W)."""
        images = images.contiguous(memory_format=self._format)
        function = compiled_encode() if self.compiled else encode
        return function(backbone, neck, images)

    def check_encoders(self) -> None:
        """Refuse a compiler that cannot work on the device of the model.

        Raises:
            ValueError: see :func:`check_compiler`.
        """
        if self.compiled:
            check_compiler(self._device())

    def key_and_query_parameters(self) -> tuple[list[Tensor], list[Tensor]]:
        """Parameters of the key encoder and those that they follow.

        Looked up once: the walk through the modules takes as long as the
        average itself.
        """
        if self._pairs is None:
            self._pairs = (
                list(self.encoder_k.parameters()),
                [*self.backbone.parameters(), *self.neck.parameters()],
            )
        return self._pairs

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> nn.Module:
        self._pairs = None
        super()._apply(fn, recurse)
        self._use_format()
        return self

    def _use_format(self) -> None:
        self._format = choose_memory_format(
            self.memory_format, self.backbone, self._device()
        )
        for module in (self.backbone, self.neck, self.encoder_k):
            module.to(memory_format=self._format)

    def _device(self) -> torch.device:
        parameter = next(self.backbone.parameters(), None)
        return torch.device('cpu') if parameter is None else parameter.device


def choose_memory_format(
    setting: str, encoder: nn.Module, device: torch.device
) -> torch.memory_format:
    """The memory format of an encoder's weights and inputs.

    What ``'auto'`` takes was measured on a CPU, forward and backward at 8 to
    84 px: channels last are 1.2 to 1.4 times as fast in residual networks
    whose first convolution has 16 or 32 channels, and from 64 on (ResNet-18,
    ResNet-50) no faster or 5 % slower. On a CUDA device of compute capability
    8 or above, whose tensor cores read channels last, it takes them.

    Args:
        setting: ``'auto'``, ``'contiguous'`` or ``'channels_last'``.
        encoder: Module with convolutions, or without.
        device: Device that it computes on.

    Raises:
        ValueError: for another setting.
    """
    if setting not in MEMORY_FORMATS:
        raise ValueError(
            f'expected memory_format to be one of {MEMORY_FORMATS}, got '
            f'{setting!r}'
        )
    if setting == 'auto':
        setting = _best(encoder, device)
    if setting == 'channels_last':
        return torch.channels_last
    return torch.contiguous_format


def _best(encoder: nn.Module, device: torch.device) -> str:
    convolutions = (m for m in encoder.modules() if isinstance(m, nn.Conv2d))
    first = next(convolutions, None)
    if first is None:
        return 'contiguous'
    if device.type == 'cuda':
        last = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        last = device.type == 'cpu' and first.out_channels <= _THIN
    return 'channels_last' if last else 'contiguous'


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where ``torch.compile`` could not.

    Args:
        device: Device of the model.

    Raises:
        ValueError: without a C++ compiler (CPU), or without Triton or a GPU
            that it serves.
    """
    remedy = 'set model.compile=False'
    if device.type == 'cuda':
        if importlib.util.find_spec('triton') is None:
            raise ValueError(
                'expected Triton for model.compile=True on a GPU, got none; '
                f'pip install triton, or {remedy}'
            )
        capability = torch.cuda.get_device_capability(device)
        if capability < (7, 0):
            raise ValueError(
                'expected a GPU of compute capability 7.0 or above for '
                f'model.compile=True, got {capability}; {remedy}'
            )
        return
    default = {'darwin': 'clang++', 'win32': 'cl'}.get(sys.platform, 'g++')
    compiler = os.environ.get('CXX', default)
    if shutil.which(compiler) is None:
        raise ValueError(
            'expected a C++ compiler for model.compile=True on a CPU, got no '
            f'{compiler!r} in the PATH; install one, name it in the variable '
            f'CXX, or {remedy}'
        )
