"""Linear classifiers on frozen features, many settings at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ahpcl.core.metrics.stratified import stratified_share
from ahpcl.core.validation import finite_number, whole_number

__all__ = [
    'ProbeResult',
    'logistic_probe',
    'probe_with_choice',
    'sgd_probe',
]

Fit = Callable[[Tensor, Tensor, Tensor, Sequence[float]], Tensor]


class ProbeResult(NamedTuple):
    """Scores of a probe whose setting was chosen on held-out references.

    Args:
        scores: Scores, (M, C); columns are the classes 0 to C - 1.
        setting: The setting of the grid that was chosen.
        accuracies: Accuracy of every setting on the held-out part, percent.
        at_edge: Whether the chosen setting is the first or the last of the
            grid, and better than those between: a wider grid may hold a
            better one.
    """

    scores: Tensor
    setting: float
    accuracies: tuple[float, ...]
    at_edge: bool


def probe_with_choice(
    fit: Fit,
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    *,
    grid: Sequence[float],
    held_out: float = 0.2,
    seed: int = 0,
) -> ProbeResult:
    """Choose a setting on a part of the training features, then use all.

    The test features are seen once, after the choice. Of equally good
    settings the first of the grid is taken.

    Args:
        fit: `logistic_probe` or `sgd_probe`, with its settings.
        train: Training features, (N, D).
        labels: Classes of the training features, (N,) integers from 0.
        test: Test features, (M, D).
        grid: Settings to choose from.
        held_out: Share of the images of every class to choose on.
        seed: Seed that chooses these images.

    Raises:
        ValueError: If the grid is empty or shapes do not fit.

    Examples:
        >>> train = torch.eye(2).repeat(10, 1)
        >>> labels = torch.tensor([0, 1]).repeat(10)
        >>> found = probe_with_choice(
        ...     logistic_probe, train, labels, train[:2], grid=[0.1, 1.0]
        ... )
        >>> found.setting, found.scores.argmax(dim=1)
        (0.1, tensor([0, 1]))
    """
    if len(grid) == 0:
        raise ValueError('expected a grid of at least one setting, got none')
    _check(train, labels, test)
    best, accuracies = 0, []
    if len(grid) > 1:
        out = stratified_share(labels, held_out, seed=seed)
        out = out.to(train.device)
        kept = labels.to(train.device)
        scores = fit(train[~out], kept[~out], train[out], grid)
        # `logistic_probe` returns scores on the CPU, for any device.
        hits = scores.argmax(dim=2) == kept[out].to(scores.device)
        accuracies = (100.0 * hits.double().mean(dim=1)).tolist()
        best = max(range(len(grid)), key=accuracies.__getitem__)
    scores = fit(train, labels, test, [grid[best]])[0]
    return ProbeResult(
        scores=scores,
        setting=float(grid[best]),
        accuracies=tuple(accuracies),
        at_edge=len(grid) > 2 and accuracies[best] > max(accuracies[1:-1]),
    )


def logistic_probe(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    grid: Sequence[float],
    *,
    max_iter: int = 300,
    tol: float = 1e-4,
) -> Tensor:
    """Fit scikit-learn's multinomial logistic regression, full batch.

    Features are standardised by the mean and standard deviation of the
    training ones.

    Args:
        train: Training features, (N, D).
        labels: Classes of the training features, (N,) integers from 0.
        test: Test features, (M, D).
        grid: Values of C, the inverse of the penalty's strength.
        max_iter: Most iterations of L-BFGS.
        tol: Tolerance of L-BFGS.

    Returns:
        Logits, (len(grid), M, classes) float32 on the CPU; minus infinity
        for classes without a training image.

    Raises:
        ValueError: If shapes do not fit.
        ImportError: If scikit-learn is not installed.

    Examples:
        >>> train = torch.eye(2).repeat(5, 1)
        >>> labels = torch.tensor([0, 1]).repeat(5)
        >>> logistic_probe(train, labels, train[:2], grid=[1.0]).argmax(dim=2)
        tensor([[0, 1]])
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    _check(train, labels, test)
    train, test = _standardised(train.cpu().float(), test.cpu().float())
    truth: Any = labels.cpu().numpy()
    classes = int(labels.max()) + 1
    found = []
    for c in grid:
        model = LogisticRegression(C=c, max_iter=max_iter, tol=tol)
        with warnings.catch_warnings():
            # The number of iterations is a setting here, as epochs are.
            warnings.simplefilter('ignore', ConvergenceWarning)
            model.fit(train.numpy(), truth)
        logits = torch.as_tensor(model.decision_function(test.numpy())).float()
        if logits.ndim == 1:  # two classes have one logit
            logits = torch.stack([-logits / 2, logits / 2], dim=1)
        scores = torch.full((len(test), classes), -math.inf)
        scores[:, torch.as_tensor(model.classes_)] = logits
        found.append(scores)
    return torch.stack(found)


def sgd_probe(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    grid: Sequence[float],
    *,
    epochs: int = 30,
    batch_size: int = 256,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    standardise: bool = True,
    seed: int = 0,
) -> Tensor:
    """Train a linear layer by SGD with a cosine schedule.

    This is the linear evaluation of the field (He et al., CVPR 2020, section
    4.1, there with steps) on features that do not change. All rates are
    trained at once.

    Args:
        train: Training features, (N, D).
        labels: Classes of the training features, (N,) integers from 0.
        test: Test features, (M, D).
        grid: Learning rates, each for a layer of its own that sees the same
            batches.
        epochs: Passes over the training features.
        batch_size: Images in a step; the last of an epoch may have fewer.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of the weights, not of the biases.
        standardise: Whether to scale features by the mean and standard
            deviation of the training features.
        seed: Seed of the order of the images.

    Returns:
        Logits, (len(grid), M, classes) float32 on the device of `train`.

    Raises:
        ValueError: If shapes do not fit or a setting is out of range.

    Examples:
        >>> train = torch.eye(2).repeat(5, 1)
        >>> labels = torch.tensor([0, 1]).repeat(5)
        >>> sgd_probe(train, labels, train[:2], grid=[0.1, 1.0]).argmax(dim=2)
        tensor([[0, 1],
                [0, 1]])
    """
    _check(train, labels, test)
    epochs = whole_number(epochs, 'epochs', least=1)
    batch_size = whole_number(batch_size, 'batch_size', least=1)
    momentum = finite_number(momentum, 'momentum', least=0)
    device = train.device
    rows, asked = train.float(), test.to(device).float()
    if standardise:
        rows, asked = _standardised(rows, asked)
    truth = labels.to(device)
    classes = int(truth.max()) + 1
    rates = torch.tensor(list(grid), device=device, dtype=torch.float32)
    weight = rows.new_zeros(len(grid), rows.shape[1], classes)
    bias = rows.new_zeros(len(grid), 1, classes)
    speed, bias_speed = torch.zeros_like(weight), torch.zeros_like(bias)
    generator = torch.Generator().manual_seed(seed)
    steps, step = epochs * math.ceil(len(rows) / batch_size), 0
    for _ in range(epochs):
        order = torch.randperm(len(rows), generator=generator).to(device)
        for start in range(0, len(rows), batch_size):
            places = order[start : start + batch_size]
            batch, own = rows[places], truth[places]
            # The gradient of the mean cross entropy, in closed form.
            error = torch.softmax(batch @ weight + bias, dim=2)
            error[:, torch.arange(len(own), device=device), own] -= 1
            error /= len(own)
            gradient = batch.t() @ error
            gradient += weight_decay * weight
            speed.mul_(momentum).add_(gradient)
            bias_speed.mul_(momentum).add_(error.sum(dim=1, keepdim=True))
            scale = 0.5 * (1 + math.cos(math.pi * step / steps))
            now = (scale * rates)[:, None, None]
            weight -= now * speed
            bias -= now * bias_speed
            step += 1
    return asked @ weight + bias


def _standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    mean = train.mean(dim=0)
    std = train.std(dim=0, unbiased=False).clamp(min=1e-6)
    return (train - mean) / std, (test - mean) / std


def _check(train: Tensor, labels: Tensor, test: Tensor) -> None:
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise ValueError(
            'expected training features (N, D) and test features (M, D), got '
            f'{tuple(train.shape)} and {tuple(test.shape)}'
        )
    if labels.shape != train.shape[:1] or labels.dtype.is_floating_point:
        raise ValueError(
            f'expected one integer label for each of {len(train)} features, '
            f'got {tuple(labels.shape)} of {labels.dtype}'
        )
    if int(labels.min()) < 0 or len(torch.unique(labels)) < 2:
        raise ValueError(
            'expected labels from 0 of two classes or more, got '
            f'{torch.unique(labels)[:5].tolist()}'
        )
