"""Labels by k-means, DeepCluster's way."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import TASK_UTILS
from torch import Tensor

from ahpcl.core import KMeansSettings, spherical_kmeans
from ahpcl.core.clustering.search import resolve_backend
from ahpcl.core.clustering.whitening import pca_whiten
from ahpcl.core.validation import whole_number
from ahpcl.engine.clusterer import settings_from


@TASK_UTILS.register_module()
class KMeansLabels:
    """PCA whitening, L2 normalisation, k-means without empty clusters.

    Caron et al., ECCV 2018, section 4. A maker of labels for
    ``PseudoLabelHook``, which may be any object with ``reads``,
    ``check(num_images, num_classes)`` and ``__call__(rows, num_classes, *,
    seed)``.

    Different from the published code: k-means++ seeds instead of random
    points, and a cluster that loses its images takes the image farthest from
    its centroid instead of half of another cluster.

    Args:
        pca_dim: Components kept, at most as many as there are; None for the
            features themselves (normalised), as in ODC.
        settings: Options of :class:`ahpcl.core.KMeansSettings`. As in the
            paper there is one restart and centroids are not normalised,
            unless these say otherwise.

    Raises:
        ValueError: for an unknown option, or numbers out of range.
    """

    def __init__(self, pca_dim: int | None = 256, **settings: Any) -> None:
        if pca_dim is not None:
            whole_number(pca_dim, 'labels.pca_dim', least=1)
        self.pca_dim = pca_dim
        self.settings = settings_from(
            KMeansSettings, {'n_init': 1, 'spherical': False, **settings}
        )

    @property
    def reads(self) -> str:
        """It clusters features."""
        return 'features'

    def check(self, num_images: int, num_classes: int) -> None:
        """Refuse settings that cannot work.

        Raises:
            ValueError: for fewer images than clusters.
            ImportError: if the backend is not installed.
        """
        if not 1 <= num_classes <= num_images:
            raise ValueError(
                f'expected 1 to {num_images} clusters (the number of '
                f'images), got {num_classes}; lower model.head.num_classes'
            )
        backend = self.settings.backend
        device = 'cuda' if backend == 'flash' else 'cpu'
        resolve_backend(backend, torch.device(device))

    def __call__(self, rows: Tensor, num_classes: int, *, seed: int) -> Tensor:
        """Label all images.

        Args:
            rows: (N, C) float32 features.
            num_classes: K.
            seed: Seed of all random draws.

        Returns:
            (N,) int64 in [0, K), on the device of the rows.
        """
        if self.pca_dim is not None:
            rows = pca_whiten(rows, self.pca_dim)
        rows = F.normalize(rows, dim=1)
        return spherical_kmeans(
            rows, num_classes, self.settings, seed=seed
        ).assignments
