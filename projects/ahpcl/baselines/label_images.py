"""Labels of all images: extraction, labelling on rank 0, and their log."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mmengine.dist import master_only
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ahpcl.core.clustering.agreement import cluster_sizes, clustering_agreement
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
        seed: Seed of the maker's draws.

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


@master_only
def log_labels(
    runner: Runner,
    title: str,
    labels: Tensor,
    num_classes: int,
    *,
    previous: Tensor | None = None,
    scalars: dict[str, float] | None = None,
) -> None:
    """Write sizes, agreement with the labels before, and other numbers.

    Scalars go to the visualizer straight, once: the message hub would repeat
    them in every later line.

    Args:
        runner: The runner.
        title: Begins the line.
        labels: (N,) int64.
        num_classes: K.
        previous: (N,) labels before these, if there were any.
        scalars: More numbers by name, seconds for example.
    """
    sizes = cluster_sizes(labels, num_classes)
    values = {
        **(scalars or {}),
        'clusters': num_classes - sizes.empty,
        'size_min': sizes.minimum,
        'size_median': sizes.median,
        'size_max': sizes.maximum,
    }
    words = [f'{name} {value:.4g}' for name, value in (scalars or {}).items()]
    words += [
        f'{num_classes - sizes.empty} of {num_classes} clusters in use',
        f'sizes {sizes.minimum} / {sizes.median:g} / {sizes.maximum} '
        '(min / median / max)',
    ]
    if previous is not None:
        agreement = clustering_agreement(labels.cpu(), previous.cpu())
        values.update(nmi=agreement.nmi, ami=agreement.ami)
        words.append(
            f'agreement with the labels before: NMI {agreement.nmi:.3f}, '
            f'AMI {agreement.ami:.3f}'
        )
    runner.logger.info(f'{title}: {", ".join(words)}')
    runner.visualizer.add_scalars(
        {f'labels/{name}': value for name, value in values.items()},
        step=runner.iter,
    )
