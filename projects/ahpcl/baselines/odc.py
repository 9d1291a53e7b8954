"""Online deep clustering."""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from mmselfsup.models.algorithms import ODC
from torch import Tensor

from ahpcl.baselines.online_memory import OnlineClusteringMemory
from ahpcl.baselines.pseudo_label import (
    batch_indices,
    check_enough_images,
    reinitialise,
)
from ahpcl.models.features import (
    PooledFeatures,
    check_view_shapes,
    first_view,
)
from ahpcl.utils.setting_error import Problems, SettingError


@MODELS.register_module()
class OnlineDeepClustering(PooledFeatures, ODC):
    """ODC (Zhan et al., CVPR 2020): clusters that change in every step.

    Labels and features of all images are kept in memories; a step learns the
    labels of its images, then moves their features and labels them again.
    ``OnlineClusteringHook`` fills the memories, moves the centroids, gives up
    small clusters and weights the loss.

    No Sobel filter: the backbone is that of all methods.

    Args:
        backbone: Config of the backbone.
        neck: Config of the neck, ``ODCNeck`` of mmselfsup.
        head: Config of the classifier: ``ClsHead`` of mmselfsup with
            ``loss=dict(type='ClusterCrossEntropy')``.
        memory_bank: Config of the memories, an
            :class:`OnlineClusteringMemory`.
        data_preprocessor: As in mmselfsup.
        init_cfg: As in mmengine.

    Raises:
        ValueError: if head and memory differ in the number of clusters.
    """

    memory_bank: OnlineClusteringMemory

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        memory_bank: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            memory_bank=memory_bank,
            data_preprocessor=dict(data_preprocessor or {}),
            init_cfg=init_cfg,
        )
        if self.memory_bank.num_classes != self.num_classes:
            raise ValueError(
                'expected as many clusters in head and memory_bank, got '
                f'num_classes={self.num_classes} and '
                f'{self.memory_bank.num_classes}'
            )
        # The same on every rank by itself: DDP need not send it round, which
        # for ImageNet would be more than a gigabyte in every step.
        self._ddp_params_and_buffers_to_ignore = [
            f'memory_bank.{name}'
            for name, _ in self.memory_bank.named_buffers()
        ]

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
            ValueError: if there are fewer images than clusters, the memory
                has another length than the data, or the backbone cannot take
                a view.
        """
        problems = Problems()
        with problems.checking():
            check_enough_images(self.num_classes, num_images)
        fewer = problems.options.get('model.head.num_classes')
        with problems.checking():
            self._check_memory(num_images, fewer)
        with problems.checking():
            check_view_shapes(self, view_shapes)
        problems.report(f'{num_images} images')

    def _check_memory(self, num_images: int, num_classes: int | None) -> None:
        """Check the length; `num_classes` are those that the head shall have.

        Raises:
            SettingError: if the memory does not hold the training images.
        """
        if len(self.memory_bank) == num_images:
            return
        bank, key = self.memory_bank, 'model.memory_bank.'
        options = {f'{key}length': num_images}
        if num_classes is not None:
            options[f'{key}num_classes'] = num_classes
        mean = num_images // (num_classes or bank.num_classes)
        if bank.min_cluster > mean:
            options[f'{key}min_cluster'] = max(mean // 2, 1)
        raise SettingError(
            f'expected a memory of {num_images} rows, one per training '
            f'image, got {len(bank)}; set {key}length={num_images}',
            options,
        )

    def loss(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: list | None = None,
    ) -> dict[str, Tensor]:
        """Cross entropy against the labels, and one step of the memories.

        Args:
            inputs: (B, C, H, W), or a list of views of which the first is
                taken.
            data_samples: B samples with ``sample_idx``.

        Returns:
            ``loss``; ``acc_cluster``, how often the labels were met, in
            percent; and ``change_ratio``, the share of labels that changed.

        Raises:
            ValueError: if the memories are empty, or without ``sample_idx``.
        """
        if not self.memory_bank.ready:
            raise ValueError(
                'expected memories with a first clustering, got empty ones; '
                'add an OnlineClusteringHook to custom_hooks'
            )
        features = self._embed(inputs)
        (logits,) = self.head.logits([features])
        idx = batch_indices(data_samples, logits.device)
        labels = self.memory_bank.label_bank[idx]
        self.head.loss.class_weight = self.loss_weight
        hits = (logits.argmax(1) == labels).float().mean()
        return dict(
            loss=self.head.loss(logits, labels),
            acc_cluster=100 * hits,
            change_ratio=self.memory_bank.update_samples_memory(idx, features),
        )

    @torch.no_grad()
    def encode_neck(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        """(B, D) float32 features of the neck, what the memory holds."""
        return self._embed(inputs).float()

    @torch.no_grad()
    def set_loss_weight(self, weight: Tensor | None) -> None:
        """Weight of every cluster in the loss, (K,); None for equal ones."""
        if weight is None:
            self.loss_weight.fill_(1 / self.num_classes)
        else:
            self.loss_weight.copy_(weight)

    def reset_head(self, seed: int) -> None:
        """Initialise the classifier afresh, as its ``init_cfg`` says.

        Args:
            seed: Seed of the draw; the global random state is kept.
        """
        reinitialise(self.head, seed)

    def _embed(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        (features,) = self.neck(self.backbone(first_view(inputs)))
        return features
