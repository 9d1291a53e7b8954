"""Logistic regression on the shots of many episodes at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['in_span', 'logistic_scores']

_DESCENT_STEPS = 300
_TOLERANCE = 1e-6
_NEWTON_STEPS = 50
_HALVINGS = 12


def logistic_scores(shown: Tensor, asked: Tensor, *, c: float = 1.0) -> Tensor:
    """Score queries by logistic regression on the shots, to convergence.

    Minimises c * (sum of cross entropies) + |weights|^2 / 2 over the shots of
    every episode. Biases are not penalised, as in scikit-learn's
    `LogisticRegression(C=c)`. It is solved in the span of the shots, where
    the weights lie.

    Args:
        shown: Shots, (E, W, S, D).
        asked: Queries, (E, M, D).
        c: Inverse of the penalty's strength.

    Returns:
        Logits, (E, M, W) float64.

    Examples:
        >>> shown, asked = torch.eye(2)[None, :, None], torch.eye(2)[None]
        >>> logistic_scores(shown, asked).argmax(dim=2)
        tensor([[0, 1]])
    """
    points, queries = in_span(shown.double(), asked.double())
    design = _with_ones(points)
    truth = torch.arange(shown.shape[1], device=points.device)
    truth = truth.repeat_interleave(shown.shape[2])
    target = F.one_hot(truth, shown.shape[1]).to(design)
    weights, done = _majorised(design, target, c)
    if not bool(done.all()):
        left = ~done
        weights[left] = _newton(design[left], target, weights[left], c)
    return _with_ones(queries) @ weights


def _majorised(
    design: Tensor, target: Tensor, c: float
) -> tuple[Tensor, Tensor]:
    """Minimise by accelerated descent on a fixed quadratic bound.

    No softmax curves more than half the identity (Boehning, Annals of the
    Institute of Statistical Mathematics 1992), so that one small inverse per
    episode serves every step. Nesterov's momentum is reset to zero where it
    leads uphill.

    Args:
        design: Shots with a 1 for the bias, (E, n, d).
        target: Their classes, (n, W) of 0 and 1.
        c: Weight of the cross entropies.

    Returns:
        Weights (E, d, W), and a mask (E,) of the episodes that converged.
    """
    penalty = _penalty(design)
    bound = c / 2 * design.mT @ design + penalty.clamp(min=1e-8).diag()
    inverse = torch.linalg.inv(bound)
    weights = design.new_zeros(*design.shape[::2], target.shape[1])
    ahead, age = weights, design.new_zeros(len(design), 1, 1)
    done = torch.zeros(len(design), dtype=torch.bool, device=design.device)
    for step in range(_DESCENT_STEPS):
        gradient = _gradient(design, target, ahead, penalty, c)
        found = ahead - inverse @ gradient
        moved = found - weights
        uphill = (gradient * moved).sum((1, 2), keepdim=True) > 0
        age = torch.where(uphill, 0, age + 1)
        ahead = found + age / (age + 3) * moved
        weights = found
        if step % 10 == 9:
            gradient = _gradient(design, target, weights, penalty, c)
            done = gradient.abs().amax((1, 2)) < _TOLERANCE * max(c, 1)
            if bool(done.all()):
                break
    return weights, done


def _newton(
    design: Tensor, target: Tensor, weights: Tensor, c: float
) -> Tensor:
    """Run Newton's method with halved steps, where the bound is too loose.

    Args:
        design: Shots with a 1 for the bias, (E, n, d).
        target: Their classes, (n, W) of 0 and 1.
        weights: Weights to start from, (E, d, W).
        c: Weight of the cross entropies.

    Returns:
        Weights (E, d, W).
    """
    penalty = _penalty(design)
    number, _, ways = weights.shape
    size = weights[0].numel()
    # All biases may move together: a trace of penalty in the step alone.
    ridge = penalty.clamp(min=1e-8).repeat_interleave(ways).diag()

    def loss_of(weights: Tensor) -> Tensor:
        logits = design @ weights
        entropy = logits.logsumexp(2) - (logits * target).sum(2)
        squared = (penalty[:, None] * weights.square()).sum((1, 2))
        return c * entropy.sum(1) + squared / 2

    loss = loss_of(weights)
    for _ in range(_NEWTON_STEPS):
        shares = torch.softmax(design @ weights, dim=2)
        gradient = _gradient(design, target, weights, penalty, c)
        curve = torch.diag_embed(shares)
        curve = curve - shares[..., None] * shares[:, :, None]
        part = design[:, :, :, None] * curve.flatten(2)[:, :, None]
        hessian = c * design.mT @ part.flatten(2)  # (E, d, d * W * W)
        hessian = hessian.view(number, *[design.shape[2]] * 2, ways, ways)
        hessian = hessian.transpose(2, 3).reshape(number, size, size) + ridge
        step = torch.linalg.solve(hessian, gradient.reshape(number, size, 1))
        step = step.view_as(weights)
        length = step.new_ones(number, 1, 1)
        for _ in range(_HALVINGS):
            worse = loss_of(weights - length * step) > loss + 1e-12 * loss
            if not bool(worse.any()):
                break
            length[worse] /= 2
        weights = weights - length * step
        loss = loss_of(weights)
        if float((length * step).abs().max()) < 1e-8:
            break
    return weights


def _gradient(
    design: Tensor, target: Tensor, weights: Tensor, penalty: Tensor, c: float
) -> Tensor:
    error = torch.softmax(design @ weights, dim=2) - target
    return c * design.mT @ error + penalty[:, None] * weights


def _penalty(design: Tensor) -> Tensor:
    """Return 1 for every weight and 0 for the bias, (d,)."""
    penalty = design.new_ones(design.shape[2])
    penalty[-1] = 0
    return penalty


def _with_ones(rows: Tensor) -> Tensor:
    """Append a column of ones for the bias, (E, n, d) -> (E, n, d + 1)."""
    return torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], dim=2)


def in_span(shown: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Express shots (E, W * S, d) and queries (E, M, d) in the shots' span.

    Products of a query with any combination of shots do not change.

    Examples:
        >>> shown, asked = torch.ones(1, 1, 1, 4), torch.ones(1, 2, 4)
        >>> points, queries = in_span(shown, asked)
        >>> points.shape[2], (queries @ points.mT).round().flatten()
        (1, tensor([4., 4.]))
    """
    points = shown.flatten(1, 2)
    if points.shape[1] >= points.shape[2]:
        return points, asked
    basis = torch.linalg.qr(points.mT).Q
    return points @ basis, asked @ basis
