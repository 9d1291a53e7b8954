"""PCA whitening of features before they are clustered."""

from __future__ import annotations

import torch
from torch import Tensor

from ahpcl.core.inputs import check_features
from ahpcl.core.validation import whole_number

__all__ = ['pca_whiten']

_ROWS = 16384
# Of the features' second moment: what float32 can't tell from rounding.
_NOISE = 1e-12


def pca_whiten(features: Tensor, dim: int) -> Tensor:
    """Principal components scaled to a variance of 1, uncorrelated.

    What DeepCluster (Caron et al., ECCV 2018, section 4) does by faiss's
    ``PCAMatrix(eigen_power=-0.5)``, up to one common factor and the signs of
    the components, neither of which k-means sees after L2 normalisation. A
    component whose variance is but rounding is left at 0, so that collapsed
    or rank-deficient features give neither NaN (the root of a variance that
    came out negative) nor noise of the size of a signal.

    Moments are summed in float64, in chunks.

    Args:
        features: (N, D) floating point, on any device.
        dim: Components to keep, the largest first; at most D are there.

    Returns:
        (N, min(dim, D)) float32, mean 0; columns above the rank are 0.

    Raises:
        ValueError: If the shape or a number does not fit, or the features
            are not finite.

    Examples:
        >>> rows = torch.tensor([[2.0, 0], [-2.0, 0], [0, 1.0], [0, -1.0]])
        >>> pca_whiten(rows, dim=2).var(dim=0, correction=0)
        tensor([1.0000, 1.0000])
    """
    features = check_features(features)
    dim = min(whole_number(dim, 'dim', least=1), features.shape[1])
    num_points = len(features)
    chunks = [
        features[start : start + _ROWS]
        for start in range(0, num_points, _ROWS)
    ]
    mean = torch.stack([c.double().sum(dim=0) for c in chunks]).sum(dim=0)
    mean /= num_points
    size = features.shape[1]
    covariance = mean.new_zeros(size, size)
    for chunk in chunks:
        centred = chunk.double() - mean
        covariance.addmm_(centred.t(), centred)
    covariance /= num_points
    variances, axes = torch.linalg.eigh(covariance)  # ascending
    variances, axes = variances.flip(0)[:dim], axes.flip(1)[:, :dim]
    moment = covariance.diagonal().sum() + mean.square().sum()
    kept = variances > _NOISE * moment
    scale = torch.where(kept, variances.clamp(min=0).rsqrt(), 0.0)
    projection = axes * scale
    return torch.cat(
        [((chunk.double() - mean) @ projection).float() for chunk in chunks]
    )
