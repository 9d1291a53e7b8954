"""A sampler that shows every cluster equally often."""

from collections.abc import Iterator

import torch
from mmengine.registry import DATA_SAMPLERS
from mmselfsup.datasets.samplers import DeepClusterSampler
from torch import Tensor

from ahpcl.core.clustering.cluster_weights import uniform_over_clusters
from ahpcl.core.seeding import seed_from


@DATA_SAMPLERS.register_module()
class UniformClusterSampler(DeepClusterSampler):
    """DeepCluster's sampler, which draws again for every epoch.

    mmselfsup's draws when the labels change: it sets NumPy's global state to
    the epoch whatever the seed of the run, shows an epoch that follows
    without new labels in plain order, and takes one image too few from every
    cluster where some are empty, so that the epoch is filled up with
    repetitions. Here the labels are kept and an epoch draws by (seed, epoch)
    alone; on several ranks each takes its share of the same draw.

    Args:
        As in mmselfsup.
    """

    _labels: Tensor | None = None
    _num_classes: int = 0

    def set_uniform_indices(
        self, labels: Tensor | list, num_classes: int
    ) -> None:
        """Draw uniformly over these clusters from now on.

        Args:
            labels: Cluster of every image, (N,) in [0, K).
            num_classes: K.

        Raises:
            ValueError: if there is not one label per image.
        """
        labels = torch.as_tensor(labels, dtype=torch.long).cpu()
        if len(labels) != len(self.dataset):
            raise ValueError(
                f'expected {len(self.dataset)} labels, one per image, got '
                f'{len(labels)}'
            )
        self._labels, self._num_classes = labels, num_classes

    def __iter__(self) -> Iterator[int]:
        """Indices of this rank; plain shuffling while there are no labels."""
        if self._labels is None:
            yield from super().__iter__()
            return
        generator = torch.Generator().manual_seed(
            seed_from(self.seed, 'uniform', self.epoch)
        )
        indices = uniform_over_clusters(
            self._labels, self._num_classes, self.total_size, generator
        )
        yield from indices[self.rank :: self.world_size].tolist()
