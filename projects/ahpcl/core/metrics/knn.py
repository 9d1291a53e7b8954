"""Classification by the nearest neighbours, by cosine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core.inputs import check_rows
from ahpcl.core.validation import finite_number, whole_number

__all__ = ['knn_accuracy', 'knn_classify', 'knn_predictions']


def knn_classify(
    reference: Tensor,
    reference_labels: Tensor,
    query: Tensor,
    *,
    k: int = 20,
    temperature: float = 0.07,
    weighted: bool = True,
    num_classes: int | None = None,
    chunk_size: int = 1024,
) -> Tensor:
    """Label every query by a vote of its k nearest references.

    Weighted votes count `exp(cosine / temperature)` (Wu et al., CVPR 2018,
    section 3.4), plain ones count 1. The result is the same in every run:
    of equally near references those of lowest index vote, of equal votes
    the lowest class wins.

    Args:
        reference: Features with known classes, (N, D); normalised here.
        reference_labels: Their classes, (N,), integers from 0.
        query: Features to classify, (M, D), any number of them.
        k: Number of neighbours; at most N are taken.
        temperature: Temperature of the weights, above 0.
        weighted: Whether near neighbours count more.
        num_classes: Number of classes C; None takes the largest label + 1.
        chunk_size: Queries at once; memory grows with `chunk_size * N`.

    Returns:
        Predicted labels, (M,) int64, on the reference's device.

    Raises:
        ValueError: If shapes do not fit, there is no reference, a feature is
            not finite, a label is out of range, or a number is.

    Examples:
        >>> reference, labels = torch.eye(2), torch.tensor([0, 1])
        >>> knn_classify(reference, labels, torch.tensor([[0.1, 0.9]]), k=1)
        tensor([1])
    """
    found = knn_predictions(
        reference,
        reference_labels,
        query,
        ks=[k],
        weightings=[weighted],
        temperature=temperature,
        num_classes=num_classes,
        chunk_size=chunk_size,
    )
    return found[k, weighted]


def knn_predictions(
    reference: Tensor,
    reference_labels: Tensor,
    query: Tensor,
    *,
    ks: Sequence[int],
    weightings: Sequence[bool] = (True,),
    temperature: float = 0.07,
    num_classes: int | None = None,
    chunk_size: int = 1024,
) -> dict[tuple[int, bool], Tensor]:
    """Classify as `knn_classify`, for several k and votes, in one search.

    Args:
        reference: Features with known classes, (N, D), see `knn_classify`.
        reference_labels: Classes of the references, (N,).
        query: Features, (M, D).
        ks: Numbers of neighbours; at most N are taken.
        weightings: True for weighted votes, False for plain ones.
        temperature: Temperature of the weights.
        num_classes: Number of classes C.
        chunk_size: Queries at once.

    Returns:
        Predicted labels, (M,) int64 each, by k and weighting as given.

    Raises:
        ValueError: As `knn_classify`, and if no k is given.

    Examples:
        >>> reference, labels = torch.eye(2), torch.tensor([0, 1])
        >>> query = torch.tensor([[0.1, 0.9]])
        >>> found = knn_predictions(reference, labels, query, ks=[1, 2])
        >>> found[2, True]
        tensor([1])
    """
    check_rows(reference, 'reference features', may_be_empty=True)
    check_rows(query, 'query features', may_be_empty=True)
    if len(reference) == 0 or reference.shape[1] != query.shape[1]:
        raise ValueError(
            f'expected at least one reference with as many features as the '
            f'queries, got {tuple(reference.shape)} and {tuple(query.shape)}'
        )
    labels, classes = _checked_labels(
        reference_labels, len(reference), num_classes
    )
    if len(ks) == 0:
        raise ValueError('expected at least one k, got none')
    capped = {k: min(whole_number(k, 'k', least=1), len(labels)) for k in ks}
    chunk_size = whole_number(chunk_size, 'chunk_size', least=1)
    if finite_number(temperature, 'temperature', least=0) == 0:
        raise ValueError('expected a temperature above 0, got 0')

    device = reference.device
    dtype = torch.promote_types(reference.dtype, torch.float32)
    bank = F.normalize(reference.to(dtype), dim=1)
    labels = labels.to(device)
    empty = torch.empty(0, dtype=torch.long, device=device)
    predicted = {(k, w): [empty] for k in ks for w in weightings}
    for start in range(0, len(query), chunk_size):
        chunk = query[start : start + chunk_size]
        rows = F.normalize(chunk.to(device, dtype), dim=1)
        similarity, neighbours = _nearest(
            rows @ bank.t(), max(capped.values())
        )
        for weighted in weightings:
            weights = torch.ones_like(similarity, dtype=torch.float64)
            if weighted:
                # Less the largest, which changes no order and can't overflow.
                lead = similarity.double() - similarity[:, :1].double()
                weights = torch.exp(lead / temperature)
            votes = _votes(
                labels[neighbours], weights, classes, set(capped.values())
            )
            for k, number in capped.items():
                predicted[k, weighted].append(votes[number])
    return {key: torch.cat(parts) for key, parts in predicted.items()}


def knn_accuracy(
    reference: Tensor,
    reference_labels: Tensor,
    query: Tensor,
    query_labels: Tensor,
    *,
    k: int = 20,
    temperature: float = 0.07,
    weighted: bool = True,
    num_classes: int | None = None,
    chunk_size: int = 1024,
) -> float:
    """Return the share of queries that `knn_classify` gets right, percent.

    Args:
        reference: Features with known classes, (N, D), see `knn_classify`.
        reference_labels: Classes of the references, (N,).
        query: Features, (M, D), at least one.
        query_labels: Classes of the queries, (M,).
        k: Number of neighbours.
        temperature: Temperature of the weights.
        weighted: Whether near neighbours count more.
        num_classes: Number of classes C.
        chunk_size: Queries at once.

    Raises:
        ValueError: As `knn_classify`, and if there is no query or not one
            label for each.

    Examples:
        >>> reference, labels = torch.eye(3), torch.tensor([0, 1, 2])
        >>> knn_accuracy(reference, labels, 2 * reference, labels, k=1)
        100.0
    """
    if len(query) == 0 or query_labels.shape != query.shape[:1]:
        raise ValueError(
            f'expected at least one query and one label for each, got '
            f'{tuple(query.shape)} and {tuple(query_labels.shape)}'
        )
    predicted = knn_classify(
        reference,
        reference_labels,
        query,
        k=k,
        temperature=temperature,
        weighted=weighted,
        num_classes=num_classes,
        chunk_size=chunk_size,
    )
    hits = predicted == query_labels.to(predicted.device)
    return 100.0 * float(hits.double().mean())


def _nearest(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of every row, nearest first, and their indices.

    `torch.topk` chooses freely among equals. Only where a tie straddles the
    last place does the choice change who votes: those rows are done again
    with a stable sort.
    """
    values, index = similarity.topk(min(k + 1, similarity.shape[1]), dim=1)
    if values.shape[1] > k:
        tied = (values[:, k - 1] == values[:, k]).nonzero().squeeze(1)
        values, index = values[:, :k], index[:, :k].clone()
        for start in range(0, len(tied), 64):
            rows = tied[start : start + 64]
            order = similarity[rows].argsort(
                dim=1, descending=True, stable=True
            )
            index[rows] = order[:, :k]
    return values, index


def _votes(
    labels: Tensor, weights: Tensor, num_classes: int, ks: set[int]
) -> dict[int, Tensor]:
    """Return the class with most votes of the first k, (B,), for every k.

    Votes are added one neighbour after the other, so that the order of
    summation is fixed on every device.
    """
    votes = weights.new_zeros(len(labels), num_classes)
    winners = {}
    for rank in range(labels.shape[1]):
        chosen = labels[:, rank, None]
        votes.scatter_add_(1, chosen, weights[:, rank, None])
        if rank + 1 in ks:
            winners[rank + 1] = votes.argmax(dim=1)
    return winners


def _checked_labels(
    labels: Tensor, number: int, num_classes: int | None
) -> tuple[Tensor, int]:
    if labels.shape != (number,) or labels.dtype.is_floating_point:
        raise ValueError(
            f'expected one integer label for each of {number} references, '
            f'got {tuple(labels.shape)} of {labels.dtype}'
        )
    low, high = int(labels.min()), int(labels.max())
    classes = (
        high + 1
        if num_classes is None
        else whole_number(num_classes, 'num_classes', least=1)
    )
    if low < 0 or high >= classes:
        raise ValueError(
            f'expected labels from 0 to {classes - 1}, got {low} to {high}'
        )
    return labels.long(), classes
