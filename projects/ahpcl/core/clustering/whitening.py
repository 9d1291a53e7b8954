"""PCA whitening of features before they are clustered."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ahpcl.core.clustering.shards import ALONE, Shards
from ahpcl.core.inputs import check_features
from ahpcl.core.validation import whole_number

__all__ = ['Whitening', 'pca_whiten', 'whitening']

_ROWS = 16384
# Of the features' second moment: what float32 can't tell from rounding.
_NOISE = 1e-12


class Whitening(NamedTuple):
    """What makes features uncorrelated, each of a variance of 1.

    Attributes:
        mean: To be subtracted, (D,) float64.
        axes: Principal axes as columns, the largest variance first, (D, K)
            float64.
        scale: One over the standard deviation of every component, (K,)
            float64; 0 where the variance is but rounding.
    """

    mean: Tensor
    axes: Tensor
    scale: Tensor

    def components(self) -> Tensor:
        """The matrix (D, K) to the principal components."""
        return self.axes * self.scale

    def rotated_back(self) -> Tensor:
        """The matrix (D, D) to the components in the axes of the features.

        Distances are those of the components. It does not depend on the
        signs and the order of the axes, so that features that move little
        are mapped to rows that move little.
        """
        return self.components() @ self.axes.t()


def whitening(features: Tensor, dim: int, shards: Shards = ALONE) -> Whitening:
    """Find what makes features uncorrelated, each of a variance of 1.

    What DeepCluster (Caron et al., ECCV 2018, section 4) does by faiss's
    ``PCAMatrix(eigen_power=-0.5)``, up to one common factor and the signs of
    the components, neither of which k-means sees after L2 normalisation. A
    component whose variance is but rounding is left at 0, so that collapsed
    or rank-deficient features give neither NaN (the root of a variance that
    came out negative) nor noise of the size of a signal.

    Moments are summed in float64, in chunks.

    Args:
        features: Features of the own images, (n, D) floating point.
        dim: Components to keep, the largest first; at most D are there.
        shards: Where the features of the other images are.

    Raises:
        ValueError: If the shape or a number does not fit, or the features
            are not finite.

    Examples:
        >>> rows = torch.tensor([[2.0, 0], [-2.0, 0], [0, 1.0], [0, -1.0]])
        >>> whitening(rows, dim=2).scale.float()
        tensor([0.7071, 1.4142])
    """
    features = check_features(features)
    size = features.shape[1]
    dim = min(whole_number(dim, 'dim', least=1), size)
    num_points = shards.num_points(features)
    chunks = torch.split(features, _ROWS)
    mean = torch.stack([c.double().sum(dim=0) for c in chunks]).sum(dim=0)
    mean = shards.sum(mean) / num_points
    covariance = mean.new_zeros(size, size)
    for chunk in chunks:
        centred = chunk.double() - mean
        covariance.addmm_(centred.t(), centred)
    covariance = shards.sum(covariance) / num_points
    # Ascending; on all processes those of the first, to the bit.
    variances, axes = map(shards.broadcast, torch.linalg.eigh(covariance))
    variances, axes = variances.flip(0)[:dim], axes.flip(1)[:, :dim]
    moment = covariance.diagonal().sum() + mean.square().sum()
    kept = variances > _NOISE * moment
    scale = torch.where(kept, variances.clamp(min=0).rsqrt(), 0.0)
    return Whitening(mean, axes, scale)


def pca_whiten(features: Tensor, dim: int) -> Tensor:
    """Principal components scaled to a variance of 1, see :func:`whitening`.

    Args:
        features: (N, D) floating point, on any device.
        dim: Components to keep, the largest first; at most D are there.

    Returns:
        (N, min(dim, D)) float32, mean 0; columns above the rank are 0.

    Raises:
        ValueError: see there.

    Examples:
        >>> rows = torch.tensor([[2.0, 0], [-2.0, 0], [0, 1.0], [0, -1.0]])
        >>> pca_whiten(rows, dim=2).var(dim=0, correction=0)
        tensor([1.0000, 1.0000])
    """
    found = whitening(features, dim)
    matrix = found.components()
    return torch.cat(
        [
            ((chunk.double() - found.mean) @ matrix).float()
            for chunk in torch.split(features, _ROWS)
        ]
    )
