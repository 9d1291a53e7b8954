"""Linear SVMs on a few labelled images of every class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core.metrics.stratified import stratified_count
from ahpcl.core.seeding import seed_from
from ahpcl.core.validation import whole_number

__all__ = ['LowShotResult', 'average_precision', 'low_shot_svm', 'svm_scores']

_FOLDS = 5


class LowShotResult(NamedTuple):
    """Accuracy, or mean average precision, over draws of labelled images.

    Args:
        mean: Mean over the draws, percent.
        std: Standard deviation over the draws, percent, of the draws as a
            population; 0 for a single draw.
        draws: Accuracy of every draw, percent.
    """

    mean: float
    std: float
    draws: tuple[float, ...]


def low_shot_svm(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    shots: int | None,
    draws: int = 5,
    costs: Sequence[float] = (0.5,),
    seed: int = 0,
) -> LowShotResult:
    """Run the low-shot protocol of PCL (ICLR 2021, section 4.1) on VOC07.

    It fits one squared-hinge linear SVM per class against the rest, with
    positives weighted twice, on features of unit length, for several draws of
    `shots` positive images of every class. What differs from the published
    code:

    - Several costs are compared by cross-validation on the drawn images (the
      earlier protocol, Goyal et al., ICCV 2019); the first is taken where
      there is one image of a class. PCL's code takes the best on the test
      images, 0.5 by default.
    - VOC's difficult objects do not count; there they are negatives.
    - An image drawn for two of its classes is there once, not twice.
    - Labels (N,) are measured by top-1 accuracy.

    Args:
        train: Training features, (N, D).
        labels: Classes (N,) from 0, or a matrix (N, C) of 1 for classes in
            the image, 0 for others and -1 for those that do not count (VOC's
            difficult objects).
        test: Test features, (M, D).
        test_labels: Their classes, (M,) or (M, C), in the form of `labels`.
        shots: Labelled images of every class; None for all, in one draw.
        draws: Number of draws, from 1.
        costs: Costs of the SVM to choose from.
        seed: Seed of the draws.

    Returns:
        Top-1 accuracy for labels (N,); mean average precision over the
        classes for a matrix, see :func:`average_precision`.

    Raises:
        ValueError: If shapes do not fit or a class has too few images.
        ImportError: If scikit-learn is not installed.

    Examples:
        >>> train = torch.eye(2).repeat(5, 1)
        >>> labels = torch.tensor([0, 1]).repeat(5)
        >>> low_shot_svm(train, labels, train, labels, shots=1, draws=2).mean
        100.0
    """
    for rows, truth in ((train, labels), (test, test_labels)):
        if rows.ndim != 2 or len(rows) != len(truth) or len(rows) == 0:
            raise ValueError(
                'expected features (N, D) and labels of N images, got '
                f'{tuple(rows.shape)} and {tuple(truth.shape)}'
            )
    if labels.ndim != test_labels.ndim or labels.ndim > 2:
        raise ValueError(
            'expected labels (N,) and (M,), or matrices (N, C) and (M, C), '
            f'got {tuple(labels.shape)} and {tuple(test_labels.shape)}'
        )
    if shots is not None:
        shots = whole_number(shots, 'shots', least=1)
    if len(costs) == 0 or draws < 1:
        raise ValueError(
            f'expected at least one cost and one draw, got {len(costs)} and '
            f'{draws}'
        )
    rows = F.normalize(train.cpu().float(), dim=1)
    asked = F.normalize(test.cpu().float(), dim=1)
    results = []
    for draw in range(draws if shots is not None else 1):
        own = seed_from(seed, 'low-shot', draw)
        chosen = _drawn(labels.cpu(), shots, own)
        known, truth = rows[chosen], _matrix(labels.cpu()[chosen])
        cost = _chosen_cost(known, truth, costs, own)
        scores = svm_scores(known, truth, asked, cost)
        results.append(_judge(scores, test_labels.cpu()))
    values = torch.tensor(results, dtype=torch.float64)
    return LowShotResult(
        mean=float(values.mean()),
        std=float(values.std(unbiased=False)),
        draws=tuple(results),
    )


def svm_scores(
    train: Tensor, truth: Tensor, test: Tensor, cost: float
) -> Tensor:
    """Return signed distances to the plane of every class.

    Args:
        train: Training features, (N, D).
        truth: Classes, (N, C) of 1, 0 and -1, see :func:`low_shot_svm`.
        test: Test features, (M, D).
        cost: Cost of the SVM.

    Returns:
        Scores, (M, C) float64; minus infinity for a class that no image has,
        0 for one that all have.

    Examples:
        >>> truth = torch.eye(2, dtype=torch.long)
        >>> scores = svm_scores(torch.eye(2), truth, torch.eye(2), cost=1.0)
        >>> scores.argmax(dim=1)
        tensor([0, 1])
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    rows: Any = train.double().numpy()
    asked: Any = test.double().numpy()
    scores = torch.zeros(len(test), truth.shape[1], dtype=torch.float64)
    for column in range(truth.shape[1]):
        counts = truth[:, column] >= 0
        target: Any = truth[counts, column].numpy()
        if not (target > 0).any():
            scores[:, column] = -math.inf
        if len(set(target.tolist())) < 2:
            continue
        model = LinearSVC(
            C=cost,
            class_weight={1: 2, 0: 1},
            max_iter=2000,
            random_state=0,
            dual=True,
        )
        with warnings.catch_warnings():
            # The protocol stops at this limit, and so does its published code.
            warnings.simplefilter('ignore', ConvergenceWarning)
            model.fit(rows if counts.all() else rows[counts.numpy()], target)
        scores[:, column] = torch.as_tensor(model.decision_function(asked))
    return scores


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """Return the area under the precision-recall curve, in percent.

    It is taken at all points, with precision made non-increasing in recall
    (as in VOC's development kit from 2010 on, which the published protocols
    use for VOC07), not as the mean over 11 points of 2007.

    Args:
        scores: Scores of one class, (M,).
        truth: 1 for images with the class, 0 for those without, -1 for those
            that do not count, (M,).

    Raises:
        ValueError: If no image has the class.

    Examples:
        >>> scores = torch.tensor([0.9, 0.8, 0.1])
        >>> round(average_precision(scores, torch.tensor([1, 0, 1])), 1)
        83.3
    """
    counts = truth >= 0
    scores, truth = scores[counts].double(), truth[counts].double()
    if not bool((truth > 0).any()):
        raise ValueError('expected an image with the class, got none')
    order = scores.argsort(descending=True, stable=True)
    hits = truth[order].cumsum(0)
    precision = hits / torch.arange(1, len(hits) + 1)
    # The best precision at this recall or a higher one.
    envelope = precision.flip(0).cummax(0).values.flip(0)
    return 100.0 * float(envelope[truth[order] > 0].mean())


def _drawn(labels: Tensor, shots: int | None, seed: int) -> Tensor:
    """Return which images a draw may learn from, (N,) bool."""
    if shots is None:
        return torch.ones(len(labels), dtype=torch.bool)
    if labels.ndim == 1:
        return stratified_count(labels, shots, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for column in range(labels.shape[1]):
        places = (labels[:, column] > 0).nonzero().squeeze(1)
        if len(places) < shots:
            raise ValueError(
                f'expected at least {shots} images of every class, got '
                f'{len(places)} of class {column}'
            )
        order = torch.randperm(len(places), generator=generator)
        chosen[places[order[:shots]]] = True
    return chosen


def _chosen_cost(
    rows: Tensor, truth: Tensor, costs: Sequence[float], seed: int
) -> float:
    """Return the best cost by cross-validation, or the first without it."""
    sizes = (truth > 0).sum(dim=0)
    fewest = int(sizes[sizes > 0].min())  # labels may leave numbers out
    folds = min(_FOLDS, fewest)
    if len(costs) == 1 or folds < 2:
        return costs[0]
    generator = torch.Generator().manual_seed(seed)
    fold = torch.empty(len(rows), dtype=torch.long)
    # Images of a class go to the folds in turn, so that each fold has some.
    main = truth.argmax(dim=1)
    for label in torch.unique(main):
        places = (main == label).nonzero().squeeze(1)
        order = torch.randperm(len(places), generator=generator)
        fold[places[order]] = torch.arange(len(places)) % folds
    best, top = costs[0], -1.0
    for cost in costs:
        found = torch.empty(truth.shape, dtype=torch.float64)
        for part in range(folds):
            out = fold == part
            found[out] = svm_scores(rows[~out], truth[~out], rows[out], cost)
        value = _mean_precision(found, truth)
        if value > top:
            best, top = cost, value
    return best


def _judge(scores: Tensor, truth: Tensor) -> float:
    if truth.ndim == 1:
        return 100.0 * float((scores.argmax(dim=1) == truth).double().mean())
    return _mean_precision(scores, truth)


def _mean_precision(scores: Tensor, truth: Tensor) -> float:
    values = [
        average_precision(scores[:, column], truth[:, column])
        for column in range(truth.shape[1])
        if bool((truth[:, column] > 0).any())
    ]
    return sum(values) / max(len(values), 1)


def _matrix(labels: Tensor) -> Tensor:
    """Return labels of either form as (N, C) of 1 and 0."""
    return F.one_hot(labels) if labels.ndim == 1 else labels
