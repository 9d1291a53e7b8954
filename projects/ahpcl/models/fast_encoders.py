"""How the encoders of a contrastive method compute: layout and compiler."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .compiled_encoder import CompiledEncoder, check_compiler, encode
from .memory_format import choose_memory_format


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
            compile: Whether :meth:`encode` goes through ``torch.compile``.

        Raises:
            ValueError: for an unknown memory format.
        """
        self.memory_format = memory_format
        self.encode: Callable[[nn.Module, nn.Module, Tensor], Tensor]
        self.encode = CompiledEncoder() if compile else encode
        self._pairs: tuple[list[Tensor], list[Tensor]] | None = None
        self._use_format()

    def encode_unit(
        self, backbone: nn.Module, neck: nn.Module, images: Tensor
    ) -> Tensor:
        """Unit rows (B, D) in float32 of images (B, C, H, W)."""
        return self.encode(
            backbone, neck, images.contiguous(memory_format=self._format)
        )

    def check_encoders(self) -> None:
        """Refuse a compiler that cannot work on the device of the model.

        Raises:
            ValueError: see :func:`check_compiler`.
        """
        if isinstance(self.encode, CompiledEncoder):
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
