"""Classification of cluster labels: DeepCluster, and what is built alike."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.model.weight_init import initialize
from mmengine.registry import MODELS
from mmselfsup.models.algorithms import DeepCluster
from torch import Tensor, nn

from ahpcl.models.features import (
    PooledFeatures,
    check_view_shapes,
    first_view,
    pool_features,
    sample_indices,
)
from ahpcl.utils.random_state import random_state_kept
from ahpcl.utils.setting_error import Problems, SettingError


@MODELS.register_module()
class ClusterCrossEntropy(nn.Module):
    """Cross entropy with a weight per class, a weighted mean over the batch.

    DeepCluster and ODC were published with ``torch.nn.CrossEntropyLoss``,
    which divides by the sum of the weights in the batch, so that only their
    ratios count. mmselfsup's loss divides by the number of images; with its
    weights, which sum to 1 over the classes, every gradient is K times
    smaller than published.

    ``class_weight``, (K,) or None for equal weights, is set by the algorithm.
    """

    class_weight: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.class_weight = None

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits: (B, K).
            labels: (B,) int64.
        """
        return F.cross_entropy(
            logits.float(), labels, weight=self.class_weight
        )


@MODELS.register_module()
class PseudoLabelClassifier(PooledFeatures, DeepCluster):
    """Backbone and classifier that learn the clusters of the images.

    DeepCluster (Caron et al., "Deep Clustering for Unsupervised Learning of
    Visual Features", ECCV 2018) and other methods that alternate between
    labelling all images and learning the labels. ``PseudoLabelHook`` makes
    the labels and hands them over; a step looks them up by ``sample_idx``, so
    that no worker can hold old ones, as it does in mmselfsup.

    Different from the paper: no Sobel filter before the first layer, so that
    the backbone is the one of all methods (it was to keep AlexNet and VGG
    from clustering by colour; the published ResNet has none either).

    Args:
        backbone: Config of the backbone.
        neck: Config of the neck, such as ``AvgPool2dNeck``.
        head: Config of the classifier: ``ClsHead`` of mmselfsup with
            ``loss=dict(type='ClusterCrossEntropy')``.
        data_preprocessor: As in mmselfsup.
        init_cfg: As in mmengine.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            data_preprocessor=dict(data_preprocessor or {}),
            init_cfg=init_cfg,
        )
        # No buffer: it belongs to the data, and DDP would send it round.
        self._labels: Tensor | None = None

    @property
    def pseudo_labels(self) -> Tensor | None:
        """(N,) int64 cluster of every image; None before there are any."""
        return self._labels

    def set_pseudo_labels(
        self, labels: Tensor, loss_weight: Tensor | None = None
    ) -> None:
        """Take over the labels of all images.

        Args:
            labels: (N,) int64 in [0, K), on any device.
            loss_weight: (K,) weight of every cluster; None for equal ones.

        Raises:
            ValueError: if a label or the number of weights does not fit.
        """
        if int(labels.min()) < 0 or int(labels.max()) >= self.num_classes:
            raise ValueError(
                f'expected labels from 0 to {self.num_classes - 1}, got '
                f'{int(labels.min())} to {int(labels.max())}'
            )
        if loss_weight is None:
            self.loss_weight.fill_(1 / self.num_classes)
        elif loss_weight.shape != self.loss_weight.shape:
            raise ValueError(
                f'expected {self.num_classes} loss weights, got the shape '
                f'{tuple(loss_weight.shape)}'
            )
        else:
            self.loss_weight.copy_(loss_weight)
        self._labels = labels.to(self.loss_weight.device, torch.long)

    def check_training(
        self,
        num_images: int,
        batch_size: int,
        view_shapes: Sequence[tuple[int, ...]],
    ) -> None:
        """Refuse data that the settings cannot be trained on.

        Args:
            num_images: N.
            batch_size: Images of a batch, over all ranks.
            view_shapes: (C, H, W) of every view of an image.

        Raises:
            ValueError: if there are fewer images than clusters, or the
                backbone cannot take a view.
        """
        problems = Problems()
        with problems.checking():
            check_enough_images(self.num_classes, num_images)
        with problems.checking():
            check_view_shapes(self, view_shapes)
        problems.report(f'{num_images} images')

    def loss(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: list | None = None,
    ) -> dict[str, Tensor]:
        """Cross entropy against the labels, and how often they were met.

        Args:
            inputs: (B, C, H, W), or a list of views of which the first is
                taken.
            data_samples: B samples with ``sample_idx``.

        Returns:
            ``loss``, and ``acc_cluster`` in percent.

        Raises:
            ValueError: without labels or without ``sample_idx``.
        """
        if self._labels is None:
            raise ValueError(
                'expected labels of the images, got none; add a '
                'PseudoLabelHook to custom_hooks'
            )
        logits = self._logits(inputs)
        labels = self._labels[batch_indices(data_samples, logits.device)]
        self.head.loss.class_weight = self.loss_weight
        hits = (logits.argmax(1) == labels).float().mean()
        return dict(
            loss=self.head.loss(logits, labels), acc_cluster=100 * hits
        )

    @torch.no_grad()
    def encode_features(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        """(B, C) float32 pooled backbone features, to be clustered."""
        return pool_features(self.extract_feat(inputs))

    @torch.no_grad()
    def encode_logits(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        """(B, K) float32 scores of the classifier."""
        return self._logits(inputs).float()

    def reset_head(self, seed: int) -> None:
        """Initialise the classifier afresh, as its ``init_cfg`` says.

        Args:
            seed: Seed of the draw; the global random state stays as it is.
        """
        reinitialise(self.head, seed)

    def _logits(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        maps = self.backbone(first_view(inputs))
        if self.with_neck:
            maps = self.neck(maps)
        (logits,) = self.head.logits(maps)
        return logits


def batch_indices(data_samples: list | None, device: torch.device) -> Tensor:
    """(B,) indices of the images in the data set.

    Raises:
        ValueError: if they were not packed.
    """
    indices = sample_indices(data_samples, device)
    if indices is None:
        raise ValueError(
            'expected sample_idx with every image, got none; pack them: '
            "PackSelfSupInputs(algorithm_keys=['sample_idx'])"
        )
    return indices


def check_enough_images(num_classes: int, num_images: int) -> None:
    """Refuse more clusters than images.

    Raises:
        SettingError: if there are fewer images than clusters.
    """
    if num_images < num_classes:
        raise SettingError(
            f'expected at least as many training images as clusters, got '
            f'{num_images} images for {num_classes} clusters; lower '
            'model.head.num_classes (the papers have 128 images per cluster)',
            {'model.head.num_classes': max(num_images // 8, 2)},
        )


@torch.no_grad()
def reinitialise(module: BaseModule, seed: int) -> None:
    """Initialise a module afresh, as its ``init_cfg`` says.

    Args:
        module: With at least one parameter.
        seed: Seed of the draw; the global random state stays as it is.
    """
    device = next(module.parameters()).device
    with random_state_kept(seed, device):
        for part in module.modules():
            if hasattr(part, 'reset_parameters'):
                part.reset_parameters()
        if module.init_cfg:
            initialize(module, module.init_cfg)
