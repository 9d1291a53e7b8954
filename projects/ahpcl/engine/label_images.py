"""Labels of all images: extraction on all ranks, labelling on rank 0."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from mmengine.dist import broadcast_object_list, get_rank
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .extraction import Inputs, extract_features
from .progress import pulse


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
    bad = int((~torch.isfinite(rows).all(1)).sum())
    if bad:
        raise FloatingPointError(
            f'features of {bad} of {len(rows)} images with NaN or infinity'
        )
    extracted = time.perf_counter()
    answer: list = [None, None]
    error: Exception | None = None
    if get_rank() == 0:
        try:
            with pulse('labels of all images'):
                answer[0] = maker(rows, num_classes, seed=seed).cpu()
        except Exception as caught:
            # The other ranks wait below: tell them, then raise here.
            error, answer[1] = caught, repr(caught)
    broadcast_object_list(answer)
    if error is not None:
        raise error
    if answer[1] is not None:
        raise RuntimeError(f'labelling failed on rank 0: {answer[1]}')
    return Labelling(
        labels=answer[0],
        rows=rows,
        extract_seconds=extracted - start,
        label_seconds=time.perf_counter() - extracted,
    )
