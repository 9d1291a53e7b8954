"""Codes that use every prototype equally often, by Sinkhorn and Knopp.

Sources: Cuturi, "Sinkhorn Distances", NeurIPS 2013; the codes of a batch are
those of SwAV (Caron et al., NeurIPS 2020, section 3.1), the labels of a whole
data set those of SeLa (Asano et al., ICLR 2020, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ahpcl.core.contrast.batches import full_precision

__all__ = ['equal_labels', 'sinkhorn']

Reduce = Callable[[Tensor, str], Tensor]
_ROWS = 65536


def sinkhorn(
    scores: Tensor,
    *,
    epsilon: float = 0.05,
    n_iter: int = 3,
    reduce: Reduce | None = None,
) -> Tensor:
    """Soft codes: rows sum to 1, columns to N / K once converged.

    Works on logarithms, in float32 (float64 for float64 scores), so that no
    column can vanish; autocast is off.

    Args:
        scores: Similarity of every sample to every prototype, (n, K): the
            samples of this rank.
        epsilon: Above 0; the smaller, the harder the codes.
        n_iter: Rounds, at least 1; each ends with the rows.
        reduce: Combines a tensor over all ranks, `reduce(x, 'sum')` or
            `reduce(x, 'max')`; called alike on every rank in every round.
            None for one process.

    Returns:
        (n, K), detached.

    Raises:
        ValueError: If the shape or a number is out of range.

    Examples:
        >>> codes = sinkhorn(torch.tensor([[0.9, 0.1], [0.8, 0.7]]))
        >>> codes.argmax(dim=1), codes.sum(dim=1)
        (tensor([0, 1]), tensor([1., 1.]))
    """
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(
            f'expected scores of shape (n, K), not empty, got '
            f'{tuple(scores.shape)}'
        )
    _check_positive('epsilon', epsilon)
    if n_iter < 1:
        raise ValueError(f'expected n_iter of at least 1, got {n_iter}')
    dtype = torch.promote_types(scores.dtype, torch.float32)
    with torch.no_grad(), full_precision(scores.device):
        log_codes = scores.detach().to(dtype) / epsilon
        for _ in range(n_iter):
            log_codes = log_codes - _log_column_sums(log_codes, reduce)
            log_codes = log_codes - log_codes.logsumexp(1, keepdim=True)
        return log_codes.exp()


def equal_labels(
    log_probabilities: Tensor,
    *,
    power: float = 25.0,
    max_iter: int = 200,
    tolerance: float = 0.1,
) -> Tensor:
    """One label per sample, all labels (nearly) equally often.

    The optimal transport of SeLa between samples and labels at equal label
    sizes, whose solution is rounded to its largest entry. Memory beyond the
    scores is bounded: scores are visited in parts.

    Args:
        log_probabilities: Score of every label for every sample, (N, K); any
            scores do.
        power: Lambda of the paper: scores are multiplied by it; the larger,
            the nearer to the hard optimum and the slower.
        max_iter: Rounds at most.
        tolerance: Stop once the mean relative deviation of the label sizes
            from N / K is below.

    Returns:
        (N,) int64.

    Raises:
        ValueError: If the shape or a number is out of range, or there are
            fewer samples than labels.

    Examples:
        >>> equal_labels(torch.tensor([[0.9, 0.1], [0.8, 0.7]]))
        tensor([0, 1])
    """
    if log_probabilities.ndim != 2 or 0 in log_probabilities.shape:
        raise ValueError(
            f'expected scores of shape (N, K), not empty, got '
            f'{tuple(log_probabilities.shape)}'
        )
    num_samples, num_labels = log_probabilities.shape
    if num_samples < num_labels:
        raise ValueError(
            f'expected at least as many samples as labels, got '
            f'{num_samples} for {num_labels}'
        )
    _check_positive('power', power)
    _check_positive('tolerance', tolerance)
    if max_iter < 1:
        raise ValueError(f'expected max_iter of at least 1, got {max_iter}')
    dtype = torch.promote_types(log_probabilities.dtype, torch.float32)
    target = math.log(num_samples / num_labels)
    scores = log_probabilities.detach()
    price = scores.new_zeros(num_labels, dtype=dtype)
    parts = [
        slice(start, start + _ROWS) for start in range(0, num_samples, _ROWS)
    ]
    with torch.no_grad(), full_precision(scores.device):
        for _ in range(max_iter):
            mass = torch.full_like(price, -torch.inf)
            for part in parts:
                rows = scores[part].to(dtype) * power + price
                rows = rows - rows.logsumexp(1, keepdim=True)
                mass = torch.logaddexp(mass, rows.logsumexp(0))
            deviation = (mass - target).exp().sub(1).abs().mean()
            if float(deviation) < tolerance:
                break
            price = price + target - mass
        labels = [
            (scores[part].to(dtype) * power + price).argmax(1)
            for part in parts
        ]
    return torch.cat(labels)


def _log_column_sums(log_values: Tensor, reduce: Reduce | None) -> Tensor:
    """Logarithm of the sum of every column over all ranks, (1, K)."""
    if reduce is None:
        return log_values.logsumexp(0, keepdim=True)
    highest = reduce(log_values.amax(0, keepdim=True), 'max')
    total = reduce((log_values - highest).exp().sum(0, keepdim=True), 'sum')
    return highest + total.log()


def _check_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f'expected {name} above 0, got {value}')
