"""Sends samples that hold only their index in one piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor


class SampleList:
    """The samples of a batch, made when somebody looks at one of them.

    A worker sends every tensor of every sample by itself, which takes longer
    than to load small images. Most readers want the indices only; the others
    find a sequence of mmengine's samples here.

    It is no ``Sequence`` by type, or loaders and mmselfsup's preprocessor
    would walk through it.

    Args:
        indices: Indices of the images, (B,) int64.
        sample: Type of a sample.
        value: Type of its ``sample_idx``, with ``value`` (1,) int64.
    """

    def __init__(
        self,
        indices: Tensor,
        sample: type[BaseDataElement],
        value: type[BaseDataElement],
    ) -> None:
        self.indices = indices
        self._types = sample, value
        self._made: list[Any] | None = None

    @classmethod
    def of(cls, samples: Sequence[Any]) -> SampleList | None:
        """Pack samples that hold their index only; None for others."""
        if not all(map(_is_plain, samples)):
            return None
        return cls(
            torch.cat([sample.sample_idx.value for sample in samples]),
            type(samples[0]),
            type(samples[0].sample_idx),
        )

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int | slice) -> Any:
        return self._list()[place]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._list())

    def __getstate__(self) -> tuple[Tensor, tuple[type, type]]:
        return self.indices, self._types

    def __setstate__(self, state: tuple[Tensor, tuple[type, type]]) -> None:
        self.indices, self._types = state
        self._made = None

    def _list(self) -> list[Any]:
        if self._made is None:
            sample, value = self._types
            self._made = []
            for index in self.indices.split(1):
                made = sample()
                made.sample_idx = value(value=index)
                self._made.append(made)
        return self._made


def _is_plain(sample: Any) -> bool:
    """Tell whether a sample has a sample_idx (1,) and nothing else."""
    if not isinstance(sample, BaseDataElement):
        return False
    if sample.keys() != ['sample_idx'] or sample.metainfo_keys():
        return False
    found = sample.sample_idx
    if not isinstance(found, BaseDataElement) or found.keys() != ['value']:
        return False
    value = found.value
    return isinstance(value, Tensor) and value.shape == (1,)
