"""ODC's memories: features, labels and centroids that change step by step.

Zhan et al., "Online Deep Clustering for Unsupervised Representation
Learning", CVPR 2020, section 3. Functions of tensors on any device; nothing
loops over images.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.rows import segment_sum
from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.contrast.batches import full_precision
from ahpcl.core.seeding import seed_from

__all__ = [
    'absorb_small_clusters',
    'fill_empty_clusters',
    'first_of_each',
    'nearest_by_product',
    'renew_rows',
    'scaled_rows',
    'update_centroids',
]


def scaled_rows(rows: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays one.

    Args:
        rows: (B, D) float32.

    Examples:
        >>> scaled_rows(torch.tensor([[0.0, 4.0], [0.0, 0.0]]))
        tensor([[0., 1.],
                [0., 0.]])
    """
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / (lengths + 1e-10)


def renew_rows(old: Tensor, new: Tensor, momentum: float) -> Tensor:
    """Moving average of features in the samples memory (equation 1).

    Args:
        old: Unit rows in the memory, (B, D) float32.
        new: Features of the same images, of any length, (B, D) float32.
        momentum: Share of the new ones, as in the paper (0.5).

    Returns:
        Unit rows, (B, D).

    Examples:
        >>> old, new = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 9.0]])
        >>> renew_rows(old, new, momentum=0.5)
        tensor([[0.7071, 0.7071]])
    """
    return scaled_rows((1 - momentum) * old + momentum * scaled_rows(new))


def nearest_by_product(rows: Tensor, centroids: Tensor) -> Tensor:
    """Label of the centroid with the largest inner product (equation 2).

    Centroids are means of unit rows, not scaled: those of spread clusters
    are shorter and so attract less.

    Args:
        rows: (B, D) float32.
        centroids: (K, D) float32.

    Returns:
        (B,) int64.

    Examples:
        >>> centroids = torch.tensor([[0.2, 0.0], [0.0, 0.9]])
        >>> nearest_by_product(torch.tensor([[0.8, 0.6]]), centroids)
        tensor([1])
    """
    with full_precision(rows.device), torch.no_grad():
        return (rows @ centroids.t()).argmax(dim=1)


def first_of_each(indices: Tensor) -> Tensor:
    """Positions at which an index occurs for the first time, ascending.

    Args:
        indices: (B,) int64, in which some may repeat: a sampler that pads
            its last batch, or one that draws with repetition.

    Returns:
        (U,) int64.

    Examples:
        >>> first_of_each(torch.tensor([5, 2, 5, 7]))
        tensor([0, 1, 3])
    """
    distinct, inverse = torch.unique(indices, return_inverse=True)
    position = torch.arange(len(indices), device=indices.device)
    first = torch.full_like(distinct, len(indices))
    first.scatter_reduce_(0, inverse, position, 'amin')
    return first.sort().values


def update_centroids(
    centroids: Tensor,
    features: Tensor,
    labels: Tensor,
    clusters: Tensor | None = None,
) -> Tensor:
    """Means of the clusters; an empty one keeps its centroid.

    Args:
        centroids: Those before, (K, D) float32; not changed.
        features: Unit rows of the samples memory, (N, D) float32.
        labels: (N,) int64.
        clusters: Which to update, (C,) int64; None for all.

    Returns:
        (K, D) float32.

    Examples:
        >>> rows, labels = torch.eye(2), torch.zeros(2).long()
        >>> update_centroids(torch.eye(2), rows, labels)
        tensor([[0.5000, 0.5000],
                [0.0000, 1.0000]])
    """
    count = len(centroids)
    chosen = torch.ones(count, dtype=torch.bool, device=labels.device)
    if clusters is not None:
        chosen.zero_()
        chosen[clusters] = True
        rows = chosen[labels].nonzero().squeeze(1)
        features, labels = features[rows], labels[rows]
    sizes = torch.bincount(labels, minlength=count)[:, None]
    means = segment_sum(features, labels, count) / sizes.clamp(min=1)
    renewed = chosen[:, None] & (sizes > 0)
    return torch.where(renewed, means.to(centroids.dtype), centroids)


def absorb_small_clusters(
    features: Tensor, labels: Tensor, centroids: Tensor, min_size: int
) -> tuple[Tensor, Tensor]:
    """Give the images of small clusters to the nearest of the others.

    Args:
        features: Unit rows, (N, D) float32.
        labels: (N,) int64 in [0, K); not changed.
        centroids: (K, D) float32.
        min_size: A cluster with fewer images is small (20 in the paper); at
            most N / K, so that one at least is not.

    Returns:
        New labels (N,), and the clusters that are empty now, ascending.

    Raises:
        ValueError: If every cluster is small.

    Examples:
        >>> rows, labels = torch.eye(2)[[0, 0, 1]], torch.tensor([0, 0, 1])
        >>> absorb_small_clusters(rows, labels, torch.eye(2), min_size=2)
        (tensor([0, 0, 0]), tensor([1]))
    """
    sizes = torch.bincount(labels, minlength=len(centroids))
    small = sizes < min_size
    if bool(small.all()):
        raise ValueError(
            f'expected a cluster of at least min_size={min_size} images, got '
            f'{int(sizes.max())} at most; min_size may be up to '
            f'{len(labels) // len(centroids)}, the mean size'
        )
    rows = small[labels].nonzero().squeeze(1)
    labels = labels.clone()
    if len(rows) > 0:
        others = (~small).nonzero().squeeze(1)
        found = nearest_by_product(features[rows], centroids[others])
        labels[rows] = others[found]
    return labels, small.nonzero().squeeze(1)


def fill_empty_clusters(
    features: Tensor,
    labels: Tensor,
    centroids: Tensor,
    empty: Tensor,
    *,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Fill empty clusters, each with a half of the largest at its turn.

    The largest cluster is split by 2-means; the larger part keeps the label
    and both get the centroids of their parts. Where all its rows are one
    (collapsed features) it is cut in two by index.

    Args:
        features: Unit rows, (N, D) float32.
        labels: (N,) int64 in [0, K), N >= K; not changed.
        centroids: (K, D) float32; not changed.
        empty: Clusters without images, (E,) int64.
        seed: Seed of the 2-means.

    Returns:
        New labels (N,) and new centroids (K, D).

    Examples:
        >>> rows, labels = torch.eye(2)[[0, 0, 1]], torch.tensor([0, 0, 0])
        >>> found, _ = fill_empty_clusters(
        ...     rows, labels, torch.eye(2), torch.tensor([1]), seed=0
        ... )
        >>> found
        tensor([0, 0, 1])
    """
    labels, centroids = labels.clone(), centroids.clone()
    sizes = torch.bincount(labels, minlength=len(centroids))
    for cluster in empty.tolist():
        largest = int(sizes.argmax())
        rows = (labels == largest).nonzero().squeeze(1)
        part = _smaller_part(features[rows], seed_from(seed, 'split', cluster))
        labels[rows[part]] = cluster
        sizes[cluster] = int(part.sum())
        sizes[largest] -= sizes[cluster]
        pair = torch.tensor([largest, cluster], device=labels.device)
        centroids = update_centroids(centroids, features, labels, pair)
    return labels, centroids


def _smaller_part(rows: Tensor, seed: int) -> Tensor:
    """Mask of the smaller of two parts, neither of them empty."""
    assert len(rows) > 1, 'more clusters than images'
    with warnings.catch_warnings():
        # One distinct row: both clusters can't be filled, which is seen to.
        warnings.simplefilter('ignore', UserWarning)
        found = spherical_kmeans(
            rows, 2, KMeansSettings(n_init=1, spherical=False), seed=seed
        ).assignments
    part = found == int(torch.bincount(found, minlength=2).argmin())
    if not bool(part.any()):
        part = torch.arange(len(rows), device=rows.device) < len(rows) // 2
    return part
