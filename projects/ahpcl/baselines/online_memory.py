"""ODC's samples memory and centroids memory."""

import torch
from mmengine.dist import broadcast, get_rank
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

from ahpcl.core.clustering.online_clustering import (
    absorb_small_clusters,
    fill_empty_clusters,
    first_of_each,
    nearest_by_product,
    renew_rows,
    scaled_rows,
    update_centroids,
)
from ahpcl.models.batch_shuffle import gather_batches


@MODELS.register_module()
class OnlineClusteringMemory(BaseModule):
    """Features, labels and centroids of all images (Zhan et al., CVPR 2020).

    Unlike mmselfsup's ``ODCMemory``, whose features and labels are plain
    attributes of rank 0, all of it are buffers: in the checkpoint, on the
    device of the model, the same on every rank, without a process group too.
    Of an image that occurs twice in a step, as a padded one may, the first
    occurrence counts.

    Args:
        length: Images N in the training set.
        feat_dim: Dimension D of the neck's output.
        num_classes: Clusters K.
        momentum: Share of new features in the moving average.
        min_cluster: Smaller clusters are given up, and a large one split in
            their place.

    Raises:
        ValueError: for a number out of range.
    """

    feature_bank: Tensor
    label_bank: Tensor
    centroids: Tensor
    initialised: Tensor

    def __init__(
        self,
        length: int,
        feat_dim: int,
        num_classes: int,
        momentum: float = 0.5,
        min_cluster: int = 20,
    ) -> None:
        super().__init__()
        if min(length, feat_dim, num_classes) < 1:
            raise ValueError(
                'expected length, feat_dim and num_classes of at least 1, got '
                f'{length}, {feat_dim} and {num_classes}'
            )
        if not 0 < momentum <= 1:
            raise ValueError(
                'expected momentum in (0, 1], the share of new features, got '
                f'{momentum}'
            )
        if not 0 <= min_cluster * num_classes <= length:
            raise ValueError(
                f'expected min_cluster from 0 to {length // num_classes}, the '
                f'mean size of {num_classes} clusters of {length} images, got '
                f'{min_cluster}; lower it or num_classes'
            )
        self.num_classes = num_classes
        self.momentum = momentum
        self.min_cluster = min_cluster
        labels = torch.zeros(length, dtype=torch.long)
        self.register_buffer('feature_bank', torch.zeros(length, feat_dim))
        self.register_buffer('label_bank', labels)
        self.register_buffer('centroids', torch.zeros(num_classes, feat_dim))
        self.register_buffer('initialised', torch.tensor(False))
        self._ready = False

    def __len__(self) -> int:
        return len(self.label_bank)

    @property
    def ready(self) -> bool:
        """Whether there are labels, from a clustering or a checkpoint."""
        self._ready = self._ready or bool(self.initialised)
        return self._ready

    def sizes(self) -> Tensor:
        """(K,) images of every cluster."""
        return torch.bincount(self.label_bank, minlength=self.num_classes)

    @torch.no_grad()
    def init_memory(self, features: Tensor, labels: Tensor) -> None:
        """Fill the memories from a clustering of all images.

        Args:
            features: (N, D), of any length, the same on every rank.
            labels: (N,) int64 in [0, K), the same on every rank.

        Raises:
            ValueError: if a shape does not fit.
        """
        if features.shape != self.feature_bank.shape or len(labels) != len(
            self
        ):
            raise ValueError(
                'expected features of shape '
                f'{tuple(self.feature_bank.shape)} and as many labels, got '
                f'{tuple(features.shape)} and {len(labels)}; set '
                'model.memory_bank.length to the number of training images '
                "and feat_dim to that of the neck's output"
            )
        self.feature_bank.copy_(scaled_rows(features.float()))
        self.label_bank.copy_(labels)
        self.centroids.zero_()
        self.initialised.fill_(True)
        self.update_centroids_memory()

    @torch.no_grad()
    def reorder(self, places: Tensor) -> None:
        """Follow images to other places.

        Args:
            places: Where every image was, a permutation, (N,) int64.
        """
        places = places.to(self.label_bank.device)
        self.feature_bank.copy_(self.feature_bank[places])
        self.label_bank.copy_(self.label_bank[places])

    @torch.no_grad()
    def update_samples_memory(self, idx: Tensor, features: Tensor) -> Tensor:
        """Move the features of a step and label their images again.

        A collective call.

        Args:
            idx: (B,) int64 indices of the images of this rank.
            features: (B, D), of any length; B is the same on every rank.

        Returns:
            Share of the images of all ranks whose label changed, scalar.
        """
        idx = gather_batches(idx)
        features = gather_batches(features.detach().float())
        once = first_of_each(idx)
        idx, features = idx[once], features[once]
        rows = renew_rows(self.feature_bank[idx], features, self.momentum)
        labels = nearest_by_product(rows, self.centroids)
        changed = (labels != self.label_bank[idx]).float().mean()
        self.feature_bank[idx] = rows
        self.label_bank[idx] = labels
        return changed

    @torch.no_grad()
    def update_centroids_memory(self, clusters: Tensor | None = None) -> None:
        """Set centroids to the means of their clusters; a collective call.

        Args:
            clusters: Which, (C,) int64; None for all.
        """
        self.centroids.copy_(
            update_centroids(
                self.centroids, self.feature_bank, self.label_bank, clusters
            )
        )
        # Sums may be rounded differently on different devices.
        broadcast(self.centroids)

    @torch.no_grad()
    def deal_with_small_clusters(self, seed: int) -> int:
        """Give up small clusters and split large ones; a collective call.

        Args:
            seed: Seed of the splits.

        Returns:
            How many clusters were small.
        """
        small = int((self.sizes() < self.min_cluster).sum())
        if small == 0:
            return 0
        if get_rank() == 0:
            labels, empty = absorb_small_clusters(
                self.feature_bank,
                self.label_bank,
                self.centroids,
                self.min_cluster,
            )
            labels, centroids = fill_empty_clusters(
                self.feature_bank, labels, self.centroids, empty, seed=seed
            )
            self.label_bank.copy_(labels)
            self.centroids.copy_(centroids)
        broadcast(self.label_bank)
        broadcast(self.centroids)
        return small
