"""Classifiers of few-shot episodes."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    'cosine_scores',
    'logistic_scores',
    'nearest_scores',
]


def nearest_scores(shown: Tensor, asked: Tensor, metric: str) -> Tensor:
    """Score how near queries are to the nearest candidate of every class.

    Args:
        shown: Candidates of every class, (E, W, S, D).
        asked: Queries, (E, M, D).
        metric: `'cosine'` of rows of unit length, or `'euclidean'`.

    Returns:
        Scores, (E, M, W); larger is nearer.

    Examples:
        >>> shown = torch.eye(2)[None, :, None]  # two classes, one shot each
        >>> nearest_scores(shown, torch.eye(2)[None, :1], 'cosine')
        tensor([[[1., 0.]]])
    """
    scores = torch.einsum('emd,evsd->emvs', asked, shown)
    if metric == 'euclidean':
        # Less |q|^2, which is the same for every candidate.
        scores = 2 * scores - shown.square().sum(3)[:, None]
    return scores.amax(dim=3)


def cosine_scores(
    shown: Tensor,
    asked: Tensor,
    *,
    scale: float = 10.0,
    steps: int = 100,
    lr: float = 0.1,
) -> Tensor:
    """Score queries by a cosine classifier trained on the shots.

    Logits are scaled cosines with one weight vector per class (Chen et al.,
    "A closer look at few-shot classification", ICLR 2019, baseline++). It
    starts at the class means, where the nearest centroid by cosine stays, and
    takes some steps of gradient descent on the cross entropy, all shots at a
    time and with momentum 0.9 (the paper: batches of 4, 100 epochs).

    Args:
        shown: Shots, (E, W, S, D).
        asked: Queries, (E, M, D).
        scale: Factor of the cosines.
        steps: Number of steps of gradient descent.
        lr: Learning rate of gradient descent.

    Returns:
        Logits, (E, M, W).

    Examples:
        >>> shown, asked = torch.eye(2)[None, :, None], torch.eye(2)[None]
        >>> cosine_scores(shown, asked).argmax(dim=2)
        tensor([[0, 1]])
    """
    points, queries = _in_span(
        F.normalize(shown, dim=3), F.normalize(asked, dim=2)
    )
    number, count, dims = points.shape
    ways, shots = shown.shape[1:3]
    truth = torch.arange(ways, device=points.device)
    truth = truth.repeat_interleave(shots).expand(number, count)
    start = points.view(number, ways, shots, dims).mean(dim=2)
    weights = F.normalize(start, dim=2).detach().requires_grad_()
    optimizer = torch.optim.SGD([weights], lr=lr, momentum=0.9)
    with torch.enable_grad():
        for _ in range(steps):
            logits = scale * points @ F.normalize(weights, dim=2).mT
            # The sum, so that every episode is trained as if alone.
            loss = F.cross_entropy(logits.mT, truth, reduction='sum') / count
            (weights.grad,) = torch.autograd.grad(loss, [weights])
            optimizer.step()
    with torch.no_grad():
        return scale * queries @ F.normalize(weights, dim=2).mT


def logistic_scores(shown: Tensor, asked: Tensor, *, c: float = 1.0) -> Tensor:
    """Score queries by scikit-learn's logistic regression on the shots.

    Every episode is fitted by itself, on the CPU. It is solved in the span of
    the shots, where the weights lie.

    Args:
        shown: Shots, (E, W, S, D).
        asked: Queries, (E, M, D).
        c: Inverse of the penalty's strength; the bias is not penalised.

    Returns:
        Logits, (E, M, W) float64, where the features are.

    Examples:
        >>> shown, asked = torch.eye(2)[None, :, None], torch.eye(2)[None]
        >>> logistic_scores(shown, asked).argmax(dim=2)
        tensor([[0, 1]])
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    points, queries = _in_span(shown.double(), asked.double())
    truth = torch.arange(shown.shape[1]).repeat_interleave(shown.shape[2])
    scores = []
    for own, others in zip(points.cpu(), queries.cpu(), strict=True):
        model = LogisticRegression(C=c, max_iter=20000, tol=1e-9)
        with warnings.catch_warnings():
            # A line search that is as far as its precision allows.
            warnings.simplefilter('ignore', ConvergenceWarning)
            model.fit(own.numpy(), truth.numpy())
        found = torch.from_numpy(model.decision_function(others.numpy()))
        if found.ndim == 1:  # of two classes: the second's, less the first's
            found = torch.stack([-found / 2, found / 2], dim=1)
        scores.append(found)
    return torch.stack(scores).to(shown.device)


def _in_span(shown: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Express shots (E, W * S, d) and queries (E, M, d) in the shots' span.

    Products of a query with any combination of shots do not change.
    """
    points = shown.flatten(1, 2)
    if points.shape[1] >= points.shape[2]:
        return points, asked
    basis = torch.linalg.qr(points.mT).Q
    return points @ basis, asked @ basis
