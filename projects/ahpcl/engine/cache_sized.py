"""Encode on a CPU as many images at once as its cache has room for."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .extraction_settings import Inputs

# Bytes of the largest map of the images that are encoded at once. Measured on
# a processor with 32 MiB of last-level cache: thin and whole ResNet-18 at 16
# to 84 px were fastest at 8 to 16 MiB and 1.2 to 1.7 times slower at 32 to 64
# MiB, while other work shared the cache.
_ROOM = 8 * 2**20
_LEAST = 16


class CacheSizedEncoder:
    """Encodes a batch in parts whose maps fit into the cache of a CPU.

    Every image is encoded on its own, so the rows are those of the whole
    batch, but for rounding where a library computes few rows otherwise; parts
    are therefore of at least 16 images. On other devices the batch stays
    whole.

    Args:
        model: What ``encode`` calls, in eval mode.
        encode: Images (B, C, H, W), or a list of views, to rows (B, D), each
            of its own image alone.
    """

    def __init__(
        self, model: nn.Module, encode: Callable[[Inputs], Tensor]
    ) -> None:
        self._model = model
        self._encode = encode
        self._number: int | None = None

    def __call__(self, inputs: Inputs) -> Tensor:
        """Rows (B, D) of the images."""
        views = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if views[0].device.type != 'cpu' or len(views[0]) < 2 * _LEAST:
            return self._encode(inputs)
        rows, done = [], 0
        if self._number is None:
            rows.append(self._measured(self._like(inputs, views, 0, _LEAST)))
            done = _LEAST
        count = len(views[0])
        while done < count:
            end = done + self._number
            if count - end < _LEAST:
                end = count
            rows.append(self._encode(self._like(inputs, views, done, end)))
            done = end
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def _measured(self, inputs: Inputs) -> Tensor:
        """Rows of a few images, by whose largest map the number is set."""
        sizes = [1]

        def note(module: nn.Module, inputs: tuple, output: object) -> None:
            if isinstance(output, Tensor):
                sizes.append(output.numel() * output.element_size())

        handles = [
            module.register_forward_hook(note)
            for module in self._model.modules()
            if next(module.children(), None) is None
        ]
        try:
            rows = self._encode(inputs)
        finally:
            for handle in handles:
                handle.remove()
        number = _ROOM * len(rows) // max(sizes)
        self._number = max(number // _LEAST, 1) * _LEAST
        return rows

    @staticmethod
    def _like(
        inputs: Inputs, views: list[Tensor], start: int, end: int
    ) -> Inputs:
        """Some images, as one tensor or as views, as they came."""
        part = [view[start:end] for view in views]
        return part[0] if isinstance(inputs, Tensor) else part
