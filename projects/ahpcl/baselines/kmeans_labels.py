"""Labels by k-means, DeepCluster's way."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.registry import TASK_UTILS
from torch import Tensor

from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.search import resolve_backend
from ahpcl.core.clustering.whitening import pca_whiten


@TASK_UTILS.register_module()
@dataclass(frozen=True)
class KMeansLabels:
    """PCA whitening, L2 normalisation, k-means without empty clusters.

    Caron et al., ECCV 2018, section 4. A maker of labels for
    ``PseudoLabelHook``, which may be any object with ``reads``,
    ``check(num_images, num_classes)`` and ``__call__(rows, num_classes, *,
    seed)``.

    Different from the published code: k-means++ seeds instead of random
    points, and a cluster that loses its images takes the image farthest from
    its centroid instead of half of another cluster.

    Attributes:
        pca_dim: Components kept, at most as many as there are; None for the
            features themselves (normalised), as in ODC.
        n_iter: Most iterations.
        n_init: Restarts of which the best is taken.
        backend: ``'auto'``, ``'torch'``, ``'faiss'`` or ``'flash'``.
        spherical: Normalise the centroids in every iteration; the paper does
            not.
    """

    pca_dim: int | None = 256
    n_iter: int = 20
    n_init: int = 1
    backend: str = 'auto'
    spherical: bool = False

    @property
    def reads(self) -> str:
        """It clusters features."""
        return 'features'

    def check(self, num_images: int, num_classes: int) -> None:
        """Refuse settings that cannot work.

        Raises:
            ValueError: for fewer images than clusters, an unknown backend or
                a number out of range.
            ImportError: if the backend is not installed.
        """
        if not 1 <= num_classes <= num_images:
            raise ValueError(
                f'expected 1 to {num_images} clusters (the number of '
                f'images), got {num_classes}; lower model.head.num_classes'
            )
        for name in ('n_iter', 'n_init', 'pca_dim'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(
                    f'expected labels.{name} of at least 1, got {value}'
                )
        device = 'cuda' if self.backend == 'flash' else 'cpu'
        resolve_backend(self.backend, torch.device(device))

    def __call__(self, rows: Tensor, num_classes: int, *, seed: int) -> Tensor:
        """Label all images.

        Args:
            rows: (N, C) float32 features.
            num_classes: K.
            seed: Of all draws.

        Returns:
            (N,) int64 in [0, K), on the device of the rows.
        """
        if self.pca_dim is not None:
            rows = pca_whiten(rows, self.pca_dim)
        return spherical_kmeans(
            F.normalize(rows, dim=1),
            num_classes,
            n_iter=self.n_iter,
            n_init=self.n_init,
            seed=seed,
            backend=self.backend,
            spherical=self.spherical,
        ).assignments
