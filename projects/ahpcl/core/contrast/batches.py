"""What the contrastive losses share: hits, draws and full precision."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

__all__ = [
    'check_batch',
    'first_occurrence',
    'full_precision',
    'sample_without_replacement',
    'strict_top1',
    'to_device',
]


def strict_top1(logits: Tensor, target: Tensor) -> Tensor:
    """Where the target's logit is the largest, alone.

    A lead within rounding is a tie, and a tie is lost: a collapsed encoder
    would otherwise have an accuracy of 0 or of 100 % by the order of
    summation. NaN is lost too.

    Args:
        logits: Scores of the candidates, (B, C).
        target: Column of the right candidate, (B,) int64.

    Returns:
        Hits, (B,) bool, detached.
    """
    scores = logits.detach()
    own = scores.gather(1, target[:, None])
    others = scores.scatter(1, target[:, None], -torch.inf)
    best = others.amax(dim=1, keepdim=True)
    rounding = 16 * torch.finfo(scores.dtype).eps * own.abs()
    return (own - best > rounding).squeeze(1)


def first_occurrence(values: Tensor) -> Tensor:
    """Where a value stands for the first time, (B,) -> (B,) bool."""
    repeats = (values[:, None] == values[None, :]).tril(diagonal=-1)
    return ~repeats.any(dim=1)


def sample_without_replacement(
    total: int, number: int, generator: torch.Generator | None
) -> Tensor:
    """`number` of `range(total)` without repetition.

    Args:
        total: How many there are.
        number: How many to draw, at most `total`.
        generator: Source of the draw, on any device; None is allowed only
            where there is nothing to draw.

    Returns:
        Distinct indices, (number,) int64, on the generator's device.

    Raises:
        ValueError: If there is no generator.
    """
    if number == 0:
        return torch.empty(0, dtype=torch.long)
    if generator is None:
        raise ValueError(
            f'expected a torch.Generator to draw {number} of {total} '
            f'negative prototypes, got None; pass generator=, or '
            f'num_negatives=None for all of them'
        )
    order = torch.randperm(total, generator=generator, device=generator.device)
    return order[:number]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; on the way to a GPU the host does not wait.

    (On the way back it must, as it would read what has not arrived.)
    """
    return tensor.to(device, non_blocking=device.type != 'cpu')


def full_precision(
    device: torch.device,
) -> contextlib.AbstractContextManager[object]:
    """A context without autocast, also on devices that know none."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def check_batch(name: str, features: Tensor) -> None:
    """Refuse features that are not (B, D) or that are empty."""
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            f'expected {name} of shape (B, D), not empty, '
            f'got {tuple(features.shape)}'
        )
