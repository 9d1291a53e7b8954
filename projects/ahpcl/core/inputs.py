"""Checks of the arguments of the clustering."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from ahpcl.core.validation import whole_number

__all__ = [
    'LINKAGES',
    'check_counts',
    'check_features',
    'check_init',
    'check_rows',
    'check_weights',
]

LINKAGES = ('independent', 'agglomerative', 'divisive')


def check_features(features: Tensor, *, may_be_empty: bool = False) -> Tensor:
    """Return features as finite float32 without a graph.

    Args:
        features: (N, D).
        may_be_empty: Whether N may be 0.

    Raises:
        ValueError: If they are not (N, D) floating point, are empty, or
            hold NaN, infinity or a row whose squared length overflows.

    Examples:
        >>> check_features(torch.ones(2, 3, dtype=torch.float64)).dtype
        torch.float32
    """
    least = 0 if may_be_empty else 1
    if features.ndim != 2 or len(features) < least or features.shape[1] < 1:
        raise ValueError(
            f'expected features of shape (N, D), not empty, got '
            f'{tuple(features.shape)}'
        )
    if not features.is_floating_point():
        raise ValueError(
            f'expected floating-point features, got {features.dtype}'
        )
    features = features.detach().float()
    norm = torch.linalg.vector_norm(features, dim=1)
    bad = ~torch.isfinite(norm.square())
    if bool(bad.any()):
        raise ValueError(
            f'expected finite features, got NaN, infinity or an overflow in '
            f'{int(bad.sum())} of {len(bad)} rows, row '
            f'{int(bad.nonzero()[0])} first; training has probably diverged'
        )
    return features


def check_rows(
    rows: Tensor, what: str = 'features', *, may_be_empty: bool = False
) -> None:
    """Refuse features to measure by that are no finite rows.

    Args:
        rows: Features, (N, D), of any floating-point type.
        what: Name of the features, for the message.
        may_be_empty: Whether N may be 0.

    Raises:
        ValueError: If they are not (N, D), are empty, or hold NaN or
            infinity.

    Examples:
        >>> check_rows(torch.ones(2, 3))
    """
    empty = 0 in rows.shape and not may_be_empty
    if rows.ndim != 2 or empty:
        raise ValueError(
            f'expected {what} of shape (N, D), not empty, got '
            f'{tuple(rows.shape)}'
        )
    if not bool(torch.isfinite(rows).all()):
        bad = int((~torch.isfinite(rows)).any(dim=1).sum())
        raise ValueError(
            f'expected finite {what}, got {bad} rows with NaN or infinity; '
            'the encoder has diverged'
        )


def check_init(init: Tensor, num_clusters: int, features: Tensor) -> Tensor:
    """Return a warm start as float32 on the features' device.

    Raises:
        ValueError: If the shape does not fit or a value is not finite.

    Examples:
        >>> check_init(torch.eye(2), 2, torch.ones(5, 2)).shape
        torch.Size([2, 2])
    """
    shape = (num_clusters, features.shape[1])
    if tuple(init.shape) != shape:
        raise ValueError(
            f'expected init of shape {shape}, got {tuple(init.shape)}'
        )
    init = init.detach().to(features.device, torch.float32)
    if not bool(torch.isfinite(init).all()):
        raise ValueError('expected finite init, got NaN or infinity')
    return init


def check_weights(weights: Tensor, features: Tensor) -> Tensor:
    """Return weights of points as float32 on the features' device.

    Raises:
        ValueError: If the shape does not fit, a weight is negative or not
            finite, or all are 0.

    Examples:
        >>> check_weights(torch.tensor([1, 2]), torch.ones(2, 3))
        tensor([1., 2.])
    """
    if weights.shape != features.shape[:1]:
        raise ValueError(
            f'expected weights of shape ({len(features)},), got '
            f'{tuple(weights.shape)}'
        )
    weights = weights.detach().to(features.device, torch.float32)
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise ValueError('expected finite weights >= 0')
    if not bool((weights > 0).any()) and len(weights) > 0:
        raise ValueError('expected a weight above 0, got only zeros')
    return weights


def check_counts(
    num_clusters: Sequence[int],
    num_points: int,
    linkage: str,
    min_ratio: float,
) -> tuple[int, ...]:
    """Return the cluster counts of a hierarchy, descending.

    Raises:
        ValueError: If they repeat, are not whole and positive, exceed the
            number of points or, where they are to be nested, lie too close;
            or if the linkage is unknown.

    Examples:
        >>> check_counts([10, 40, 20], 100, 'agglomerative', 1.25)
        (40, 20, 10)
    """
    if linkage not in LINKAGES:
        raise ValueError(
            f'expected linkage to be one of {LINKAGES}, got {linkage!r}'
        )
    counts = tuple(sorted(map(_whole, num_clusters), reverse=True))
    if not counts:
        raise ValueError('expected at least one cluster count, got none')
    if counts[-1] < 1 or len(set(counts)) < len(counts):
        raise ValueError(
            f'expected distinct cluster counts >= 1, got {tuple(num_clusters)}'
        )
    if counts[0] > num_points:
        raise ValueError(
            f'expected at most {num_points} clusters (the number of points), '
            f'got {counts[0]}; drop that count'
        )
    if linkage == 'independent':
        return counts
    close = [
        (fine, coarse)
        for fine, coarse in itertools.pairwise(counts)
        if fine < min_ratio * coarse
    ]
    if close:
        raise ValueError(
            f'expected nested cluster counts at least a ratio of {min_ratio} '
            f'apart for linkage={linkage!r}, got '
            f'{", ".join(f"{f} and {c}" for f, c in close)}; spread the '
            f'ladder, lower min_ratio, or use linkage="independent"'
        )
    return counts


def _whole(value: object) -> int:
    return whole_number(value, 'every cluster count')
