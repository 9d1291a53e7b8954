"""ProtoNCE with either of two sets of candidates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core.clustering.prototypes import PrototypeLevel
from ahpcl.core.contrast.batches import (
    check_batch,
    first_occurrence,
    full_precision,
    sample_without_replacement,
    strict_top1,
    to_device,
)

__all__ = ['own_prototypes', 'proto_nce']

_MODES = ('unique', 'batch')


def proto_nce(
    query: Tensor,
    level: PrototypeLevel,
    sample_idx: Tensor,
    *,
    negatives: str = 'unique',
    num_negatives: int | None = None,
    label_smoothing: float = 0.0,
    generator: torch.Generator | None = None,
    negative_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Contrast every query with the prototypes of one level.

    The logits are `q . c_j / phi_j` (PCL, eq. 11), computed in float32
    (float64 for float64 queries), under autocast too. The candidates of the
    softmax are

    - `unique`: the distinct prototypes of the batch and `num_negatives` of
      the others, each once. The accuracy can reach 100 % at every K.
    - `batch`: PCL's released recipe, the B positives of the batch, repeated
      as often as they occur, and `num_negatives` of the rest. Images that
      share a prototype then have it as a negative too, and the accuracy can
      not exceed (distinct prototypes in the batch) / B.

    Args:
        query: Normalised features, (B, D).
        level: A `PrototypeLevel`: `centroids` (K, D) and `concentration`
            (K,) on the query's device, `assignments` (N,) on it or on the
            CPU.
        sample_idx: Index of every image into `level.assignments`, (B,), on
            any device. If both are on the CPU, the CPU never waits for a
            GPU, whatever is drawn.
        negatives: `'unique'` or `'batch'`.
        num_negatives: How many of the prototypes that are no image's own in
            this batch are drawn, without repetition; None, or a number above
            what exists, takes them all.
        label_smoothing: In [0, 1), spread evenly over the candidates as
            `torch.nn.functional.cross_entropy` does.
        generator: Source of the draw, on any device. Required when there is
            something to draw; the global random state is never used. Seed
            it by (seed, iteration, rank) for runs that can be repeated.
        negative_mask: Which prototypes are negatives of which query, (B, K)
            bool on the query's device, such as those of
            `select_prototypes`; None for all. The others are masked by
            minus infinity in the loss, and smoothing is spread over the
            candidates left. A query's own prototype is always its positive.
            The accuracy is among all candidates with and without it.

    Returns:
        The mean cross entropy, 0-dim, and the detached top-1 accuracy in
        percent, 0-dim. An image counts as right only if its prototype has
        the largest logit of all distinct candidates, alone; in `batch` mode
        only the first of the images that share a prototype counts, as only
        one of several equal columns can be the first.

    Raises:
        ValueError: If shapes or devices do not fit, an index is out of
            range, the mode is unknown, a number is out of range, or a draw
            is needed and there is no generator.

    Examples:
        >>> from ahpcl.core import PrototypeLevel
        >>> level = PrototypeLevel(
        ...     centroids=torch.eye(2),
        ...     assignments=torch.tensor([0, 1, 1]),
        ...     concentration=torch.full((2,), 0.2),
        ... )
        >>> query = torch.eye(2)
        >>> loss, accuracy = proto_nce(query, level, torch.tensor([0, 2]))
        >>> round(float(loss), 4), float(accuracy)
        (0.0067, 100.0)
    """
    _check_args(query, level, negatives, num_negatives, label_smoothing)
    if sample_idx.shape != query.shape[:1]:
        raise ValueError(
            f'expected one sample index for each of {len(query)} queries, '
            f'got shape {tuple(sample_idx.shape)}'
        )
    _check_mask(negative_mask, query, level)
    # Candidates are chosen where the assignments are.
    place = level.assignments.device
    target = own_prototypes(level, sample_idx, place)
    num_clusters = len(level.centroids)
    dtype = torch.promote_types(query.dtype, torch.float32)
    centroids, phi = level.centroids, level.concentration

    # `target` points into the distinct candidates, `rest` lists those of them
    # that are no image's own prototype.
    rest = None
    if negatives == 'batch' or num_negatives is not None:
        is_own = torch.zeros(
            num_clusters, dtype=torch.bool, device=place
        ).index_fill_(0, target, True)
        rest = (~is_own).nonzero().squeeze(1)
        if num_negatives is not None and num_negatives < len(rest):
            own, target = torch.unique(target, return_inverse=True)
            drawn = rest[
                to_device(
                    sample_without_replacement(
                        len(rest), num_negatives, generator
                    ),
                    place,
                )
            ]
            chosen = to_device(torch.cat([own, drawn]), query.device)
            centroids, phi = centroids[chosen], phi[chosen]
            negative_mask = (
                None if negative_mask is None else negative_mask[:, chosen]
            )
            rest = torch.arange(len(own), len(chosen), device=place)
    target = to_device(target, query.device)

    with full_precision(query.device):
        q, c = query.to(dtype), centroids.to(dtype)
        logits = (q @ c.t()) / phi.to(dtype)
        hits = strict_top1(logits, target)
        if negatives == 'batch':
            assert rest is not None
            hits &= first_occurrence(target)
            columns = torch.cat([target, to_device(rest, query.device)])
            logits = logits[:, columns]
            negative_mask = (
                None if negative_mask is None else negative_mask[:, columns]
            )
            target = torch.arange(len(target), device=target.device)
        if negative_mask is None:
            loss = F.cross_entropy(
                logits, target, label_smoothing=label_smoothing
            )
        else:
            loss = _masked_cross_entropy(
                logits, target, negative_mask, label_smoothing
            )
    return loss, 100.0 * hits.to(dtype).mean()


def own_prototypes(
    level: PrototypeLevel, sample_idx: Tensor, device: torch.device
) -> Tensor:
    """Return the prototype of every image of a batch, (B,) int64 on `device`.

    Indices on a GPU are checked there, so that the CPU need not wait; a
    wrong one fails later, as an assertion of the device.

    Raises:
        ValueError: If an index is not an integer, or, on the CPU, out of
            range.

    Examples:
        >>> from ahpcl.core import PrototypeLevel
        >>> level = PrototypeLevel(
        ...     torch.eye(2), torch.tensor([0, 1, 1]), torch.ones(2)
        ... )
        >>> own_prototypes(level, torch.tensor([2, 0]), torch.device('cpu'))
        tensor([1, 0])
    """
    assignments = level.assignments
    if sample_idx.dtype.is_floating_point or sample_idx.dtype == torch.bool:
        raise ValueError(
            f'expected integer sample indices, got {sample_idx.dtype}'
        )
    outside = (sample_idx < 0) | (sample_idx >= len(assignments))
    limit = f'expected sample indices from 0 to {len(assignments) - 1}'
    if sample_idx.device.type != 'cpu':
        torch._assert_async(~outside.any(), limit)
    elif bool(outside.any()):
        bad = int(sample_idx[outside][0])
        raise ValueError(
            f'{limit}, got {bad}; the clustered images and the training '
            f'images must be the same data set in the same order'
        )
    index = to_device(sample_idx.long(), assignments.device)
    return to_device(assignments[index].long(), device)


def _masked_cross_entropy(
    logits: Tensor, target: Tensor, negative_mask: Tensor, smoothing: float
) -> Tensor:
    """Return the cross entropy over the unmasked candidates, (B, C) each.

    torch's own smoothing would multiply the minus infinity of the others.
    """
    negative_mask = negative_mask.scatter(1, target[:, None], True)
    log_p = logits.masked_fill(~negative_mask, -torch.inf).log_softmax(1)
    loss = F.nll_loss(log_p, target)
    if smoothing == 0:
        return loss
    spread = log_p.masked_fill(~negative_mask, 0.0).sum(1) / negative_mask.sum(
        1
    )
    return (1 - smoothing) * loss - smoothing * spread.mean()


def _check_mask(
    negative_mask: Tensor | None, query: Tensor, level: PrototypeLevel
) -> None:
    if negative_mask is None:
        return
    shape = (len(query), len(level.centroids))
    if negative_mask.shape != shape or negative_mask.dtype != torch.bool:
        raise ValueError(
            f'expected negative_mask as bool of shape (B, K) = {shape}, got '
            f'{negative_mask.dtype} {tuple(negative_mask.shape)}'
        )


def _check_args(
    query: Tensor,
    level: PrototypeLevel,
    negatives: str,
    num_negatives: int | None,
    label_smoothing: float,
) -> None:
    check_batch('query', query)
    centroids, phi = level.centroids, level.concentration
    if centroids.ndim != 2 or centroids.shape[1] != query.shape[1]:
        raise ValueError(
            f'expected centroids of shape (K, D) with D={query.shape[1]} as '
            f'in query, got {tuple(centroids.shape)}'
        )
    if phi.shape != centroids.shape[:1]:
        raise ValueError(
            f'expected one concentration for each of {len(centroids)} '
            f'centroids, got shape {tuple(phi.shape)}'
        )
    if centroids.device != query.device or phi.device != query.device:
        raise ValueError(
            f'expected the level on {query.device} as query, got '
            f'{centroids.device}; call .to(device) once after clustering'
        )
    if negatives not in _MODES:
        raise ValueError(
            f'expected negatives to be one of {_MODES}, got {negatives!r}'
        )
    if num_negatives is not None and num_negatives < 0:
        raise ValueError(
            f'expected num_negatives >= 0, or None for all, '
            f'got {num_negatives}'
        )
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f'expected label_smoothing in [0, 1), got {label_smoothing}'
        )
