"""The space in which the E-step clusters, where it is not that of the keys."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ahpcl.core.clustering.shards import ALONE, Shards
from ahpcl.core.clustering.whitening import whitening
from ahpcl.core.validation import whole_number

from .features import pool_features

#: What ``model.cluster_space`` may be.
CLUSTER_SPACES = ('projection', 'whitened')
#: Components that whitening keeps, as DeepCluster does.
COMPONENTS = 256


class WhitenedFeatures(nn.Module):
    """Pooled backbone features, whitened by their principal components.

    What DeepCluster (Caron et al., "Deep Clustering for Unsupervised Learning
    of Visual Features", ECCV 2018, section 4) clusters. Every E-step fits it
    to the features of that time; the fit is part of the model, so that images
    which come later are mapped alike. Rows stay in the axes of the features,
    which keeps them near to what they were at the E-step before.

    The last E-step of a run leaves features as they are: clusters of whitened
    features teach more, and those of the features themselves show more.

    It stands where a neck could, after a backbone.

    Args:
        channels: C of the backbone's features.
        components: Principal components that are kept, the largest; fewer
            where the features have fewer.

    Example:
        >>> space = WhitenedFeatures(2)
        >>> rows = torch.tensor([[4.0, 0], [-4.0, 0], [0, 1], [0, -1]])
        >>> space.fit(rows)
        >>> space(rows)[0].std(dim=0, correction=0)
        tensor([1., 1.])
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, channels: int, components: int = COMPONENTS) -> None:
        super().__init__()
        self.components = whole_number(components, 'components', least=1)
        self.register_buffer('mean', torch.zeros(channels))
        self.register_buffer('matrix', torch.eye(channels))

    def forward(self, feature_maps: Any) -> list[Tensor]:
        """What a backbone gives to one tensor of rows (B, C), in a list."""
        rows = pool_features(feature_maps)
        return [(rows - self.mean) @ self.matrix]

    @torch.no_grad()
    def fit(self, features: Tensor, shards: Shards = ALONE) -> None:
        """Whiten as these features need it; a collective call.

        Args:
            features: Pooled features of the own images, (n, C).
            shards: Where the others are.
        """
        found = whitening(features, self.components, shards)
        self.mean.copy_(found.mean)
        self.matrix.copy_(found.rotated_back())

    @torch.no_grad()
    def leave(self) -> None:
        """Leave features as they are, from now on."""
        self.mean.zero_()
        self.matrix.copy_(torch.eye(len(self.matrix)))

    @torch.no_grad()
    def unit_rows(self, features: Tensor) -> Tensor:
        """What is clustered, (n, C) unit rows, of pooled features (n, C)."""
        (rows,) = self(features)
        return F.normalize(rows, dim=1)


def build_cluster_space(
    setting: str, neck: Mapping[str, Any]
) -> WhitenedFeatures | None:
    """Build the space that a model clusters in.

    Args:
        setting: One of :data:`CLUSTER_SPACES`.
        neck: Config of the neck, whose ``in_channels`` are those of the
            backbone's features.

    Returns:
        None where it is that of the keys.

    Raises:
        ValueError: for another setting, or a neck that does not tell.
    """
    if setting not in CLUSTER_SPACES:
        raise ValueError(
            f'expected model.cluster_space to be one of {CLUSTER_SPACES}, '
            f'got {setting!r}'
        )
    if setting == 'projection':
        return None
    if 'in_channels' not in neck:
        raise ValueError(
            "expected model.neck.in_channels with model.cluster_space='"
            f"{setting}', got a neck with {sorted(neck)}; give it the "
            "channels of the backbone's features, or set model."
            "cluster_space='projection'"
        )
    return WhitenedFeatures(neck['in_channels'])
