"""Features of an encoder, compiled or not."""

import importlib.util
import os
import shutil
import sys

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

# Kinds of inputs that are compiled; others run as they are.
_MAX_KINDS = 4


def encode(backbone: nn.Module, neck: nn.Module, images: Tensor) -> Tensor:
    """Unit rows (B, D) in float32 of images (B, C, H, W)."""
    return F.normalize(neck(backbone(images))[0].float(), dim=1)


class CompiledEncoder:
    """:func:`encode` through ``torch.compile``.

    It holds no module, so neither the names in a checkpoint nor copies of
    the model depend on it, and a parallel wrapper sees the same parameters.
    Compiled are the first four kinds of inputs (shape, type, with or without
    gradient, training or not): two sizes of views, keys, and a last batch
    that is smaller. Whatever else comes is encoded uncompiled, so that odd
    sizes do not compile for ever. The first step of a kind takes up to a
    minute.

    Raises:
        ValueError: at the first images, without what the compiler needs.
    """

    def __init__(self) -> None:
        self._function = torch.compile(encode, dynamic=False)
        self._kinds: set[tuple] = set()
        self._told = False

    def __call__(
        self, backbone: nn.Module, neck: nn.Module, images: Tensor
    ) -> Tensor:
        """Unit rows (B, D) in float32 of images (B, C, H, W)."""
        kind = (
            images.shape,
            images.dtype,
            images.device,
            torch.is_grad_enabled(),
            backbone.training,
            torch.is_autocast_enabled(images.device.type),
        )
        if kind not in self._kinds:
            if len(self._kinds) == _MAX_KINDS:
                self._tell(images)
                return encode(backbone, neck, images)
            check_compiler(images.device)
            self._kinds.add(kind)
        return self._function(backbone, neck, images)

    def __deepcopy__(self, memo: dict) -> 'CompiledEncoder':
        return CompiledEncoder()

    def __reduce__(self) -> tuple:
        return CompiledEncoder, ()

    def _tell(self, images: Tensor) -> None:
        if not self._told:
            self._told = True
            print_log(
                f'{_MAX_KINDS} kinds of inputs are compiled; others, such as '
                f'{tuple(images.shape)}, are encoded uncompiled',
                logger='current',
            )


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where ``torch.compile`` could not.

    Raises:
        ValueError: without a C++ compiler (CPU), or without Triton or a GPU
            that it serves.
    """
    way_out = 'set model.compile=False'
    if device.type == 'cuda':
        if importlib.util.find_spec('triton') is None:
            raise ValueError(
                'expected Triton for model.compile=True on a GPU, got none; '
                f'pip install triton, or {way_out}'
            )
        capability = torch.cuda.get_device_capability(device)
        if capability < (7, 0):
            raise ValueError(
                'expected a GPU of compute capability 7.0 or above for '
                f'model.compile=True, got {capability}; {way_out}'
            )
        return
    default = {'darwin': 'clang++', 'win32': 'cl'}.get(sys.platform, 'g++')
    compiler = os.environ.get('CXX', default)
    if shutil.which(compiler) is None:
        raise ValueError(
            'expected a C++ compiler for model.compile=True on a CPU, got no '
            f'{compiler!r} in the PATH; install one, name it in the variable '
            f'CXX, or {way_out}'
        )
