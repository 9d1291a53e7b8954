"""Labels of all images: extraction on all ranks, labelling on rank 0."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn
from torch.utils.data import DataLoader

from ahpcl.engine.extraction import Inputs, extract_features
from ahpcl.utils.progress import pulse
from ahpcl.utils.ranks import on_rank_0


class LabelMaker(Protocol):
    """What labels all images, registered in ``TASK_UTILS``."""

    @property
    def reads(self) -> str:
        """``'features'``: pooled backbone features, or ``'logits'``."""

    def check(self, num_images: int, num_classes: int) -> None:
        """Raise a ValueError where it cannot work."""

    def __call__(self, rows: Tensor, num_classes: int, *, seed: int) -> Tensor:
        """Rows (N, C), or logits (N, K), to labels (N,) int64."""


@dataclass(frozen=True, eq=False)
class Labelling:
    """What :func:`label_images` gives, the same on every rank.

    Attributes:
        labels: (N,) int64 on the CPU.
        rows: (N, C) what was labelled, on the device of the model.
        extract_seconds: Wall time of the extraction.
        label_seconds: Wall time of labelling and broadcast.
    """

    labels: Tensor
    rows: Tensor
    extract_seconds: float
    label_seconds: float


def label_images(
    model: nn.Module,
    dataloader: DataLoader,
    maker: LabelMaker,
    encode: Callable[[Inputs], Tensor],
    num_classes: int,
    *,
    seed: int,
) -> Labelling:
    """Label every image; a collective call.

    Args:
        model: The unwrapped algorithm.
        dataloader: Over the training images in order.
        maker: Makes labels of rows.
        encode: Preprocessed images to rows.
        num_classes: K.
        seed: Of the maker's draws.

    Raises:
        FloatingPointError: if a row is NaN or infinite.
        RuntimeError: on the other ranks, if labelling failed on rank 0.
    """
    start = time.perf_counter()
    rows = extract_features(model, dataloader, encode)
    extracted = time.perf_counter()

    def label() -> Tensor:
        with pulse('labels of all images'):
            return maker(rows, num_classes, seed=seed).cpu()

    labels = on_rank_0(label, 'labelling')
    return Labelling(
        labels=labels,
        rows=rows,
        extract_seconds=extracted - start,
        label_seconds=time.perf_counter() - extracted,
    )
