"""Share of rows whose label is among the largest scores."""

from __future__ import annotations

import torch  # noqa: F401
from torch import Tensor

from ahpcl.core.validation import whole_number

__all__ = ['topk_accuracy']


def topk_accuracy(scores: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """Return the share of rows whose label is among the k largest scores.

    Ties are not counted optimistically: an equal score of another class
    stands before the label's, and so does NaN.

    Args:
        scores: Scores of the classes, (B, C).
        labels: Classes, (B,) integers from 0 to C - 1.
        k: How many of the largest scores count, from 1; with C or more every
            row is right.

    Returns:
        Percent, 0-dim float32 on the scores' device, detached.

    Raises:
        ValueError: If shapes do not fit, B is 0, or a label or k is out of
            range.

    Examples:
        >>> scores = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
        >>> topk_accuracy(scores, torch.tensor([1, 1]))
        tensor(50.)
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
