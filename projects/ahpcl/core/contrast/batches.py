"""Helpers of the contrastive losses: hits, draws and full precision."""

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
    """Tell where the target's logit is strictly the largest.

    A lead within rounding counts as a tie, and a tie counts as wrong.
    Otherwise the order of summation would decide whether a collapsed encoder
    has an accuracy of 0 or of 100 %. NaN counts as wrong, too.

    Args:
        logits: Scores of the candidates, (B, C).
        target: Column of the right candidate, (B,) int64.

    Returns:
        Hits, (B,) bool, detached.

    Examples:
        >>> logits = torch.tensor([[2.0, 1.0], [1.0, 1.0]])  # the second ties
        >>> strict_top1(logits, target=torch.tensor([0, 0]))
        tensor([ True, False])
    """
    scores = logits.detach()
    own = scores.gather(1, target[:, None])
    others = scores.scatter(1, target[:, None], -torch.inf)
    best = others.amax(dim=1, keepdim=True)
    rounding = 16 * torch.finfo(scores.dtype).eps * own.abs()
    return (own - best > rounding).squeeze(1)


def first_occurrence(values: Tensor) -> Tensor:
    """Tell which entries are the first of their value, (B,) -> (B,) bool.

    Examples:
        >>> first_occurrence(torch.tensor([3, 5, 3]))
        tensor([ True,  True, False])
    """
    repeats = (values[:, None] == values[None, :]).tril(diagonal=-1)
    return ~repeats.any(dim=1)


def sample_without_replacement(
    total: int, number: int, generator: torch.Generator | None
) -> Tensor:
    """Draw `number` of `range(total)` without repetition.

    Args:
        total: How many there are.
        number: How many to draw, at most `total`.
        generator: Source of the draw, on any device; None is allowed only
            where there is nothing to draw.

    Returns:
        Distinct indices, (number,) int64, on the generator's device.

    Raises:
        ValueError: If there is no generator.

    Examples:
        >>> generator = torch.Generator().manual_seed(0)
        >>> drawn = sample_without_replacement(10, 3, generator)
        >>> len(drawn.unique())
        3
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
    """Move a tensor to a device; the CPU does not wait for a copy to a GPU.

    (It does wait for a copy from a GPU, whose values it is going to read.)

    Examples:
        >>> to_device(torch.ones(2), torch.device('cpu'))
        tensor([1., 1.])
    """
    return tensor.to(device, non_blocking=device.type != 'cpu')


def full_precision(
    device: torch.device,
) -> contextlib.AbstractContextManager[object]:
    """Return a context without autocast, also for devices that have none.

    Examples:
        >>> with torch.autocast('cpu'), full_precision(torch.device('cpu')):
        ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
        torch.float32
    """
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def check_batch(name: str, features: Tensor) -> None:
    """Refuse features that are not (B, D), or that are empty.

    Examples:
        >>> check_batch('query', torch.ones(4, 2))  # all is well
        >>> check_batch('query', torch.ones(4))
        Traceback (most recent call last):
            ...
        ValueError: expected query of shape (B, D), not empty, got (4,)
    """
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            f'expected {name} of shape (B, D), not empty, '
            f'got {tuple(features.shape)}'
        )
