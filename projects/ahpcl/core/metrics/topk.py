"""Share of rows whose label is among the largest scores."""

from __future__ import annotations

import torch  # noqa: F401
from torch import Tensor

from ahpcl.core.validation import whole_number

__all__ = ['topk_accuracy']


def topk_accuracy(scores: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """Share of rows whose label is among the k largest scores.

    Ties are not counted optimistically: an equal score of another class
    stands before the label's, and so does NaN.

    Args:
        scores: (B, C).
        labels: Classes, (B,) integers from 0 to C - 1.
        k: From 1; from C on every row is right.

    Returns:
        Percent, 0-dim float32 on the scores' device, detached.

    Raises:
        ValueError: If shapes do not fit, B is 0, or a label or k is out of
            range.
    """
    k = whole_number(k, 'k', least=1)
    if scores.ndim != 2 or len(scores) == 0:
        raise ValueError(
            f'expected scores of shape (B, C), got {tuple(scores.shape)}'
        )
    if labels.shape != scores.shape[:1]:
        raise ValueError(
            f'expected one label for each of {len(scores)} rows, got '
            f'{tuple(labels.shape)}'
        )
    classes = scores.shape[1]
    if bool(((labels < 0) | (labels >= classes)).any()):
        raise ValueError(
            f'expected labels from 0 to {classes - 1}, got '
            f'{int(labels.min())} to {int(labels.max())}'
        )
    values = scores.detach()
    own = values.gather(1, labels[:, None].long().to(values.device))
    not_behind = (~(values < own)).sum(dim=1)  # the label itself included
    return 100.0 * (not_behind <= k).float().mean()
