"""mmselfsup's SwAV, for any device and number of views."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmselfsup.models.algorithms import SwAV
from mmselfsup.models.necks import SwAVNeck
from torch import Tensor

from ahpcl.models.features import (
    PooledFeatures,
    check_queue_length,
    check_view_shapes,
    pool_features,
)
from ahpcl.utils.setting_error import Problems, SettingError


@MODELS.register_module()
class SwAVBaseline(PooledFeatures, SwAV):
    """Swapped assignments between views.

    Caron et al., "Unsupervised Learning of Visual Features by Contrasting
    Cluster Assignments", NeurIPS 2020. Neck and head are mmselfsup's; the
    loss is :class:`SwappedPredictionLoss`. Views of one size, which follow
    each other, share a forward; a pipeline with small crops makes it
    multi-crop.

    Differs from the paper in what the configs share with all methods: SGD
    instead of LARS, and the augmentation.

    Args:
        backbone: Config of the backbone.
        neck: Config of the neck, ``SwAVNeck`` of mmselfsup, or another that
            takes pooled features (``with_avg_pool=False``).
        head: ``dict(type='SwAVHead', loss=dict(type=
            'SwappedPredictionLoss', ...))``.
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

    def check_training(
        self,
        num_images: int,
        batch_size: int,
        view_shapes: Sequence[tuple[int, ...]],
    ) -> None:
        """Refuse data that the settings cannot be trained on.

        Until the queue starts and is full a batch may be smaller than the
        number of prototypes, as in the paper's runs with small batches.

        Args:
            num_images: N.
            batch_size: Images of a batch, over all ranks.
            view_shapes: (C, H, W) of every view of an image.

        Raises:
            ValueError: if the queue is longer than the data, there are more
                prototypes than features that codes are made of, or the
                backbone cannot take a view.
        """
        loss = self.head.loss
        problems, key = Problems(), 'model.head.loss.'
        with problems.checking():
            check_queue_length(loss.queue_len, num_images, f'{key}queue_len')
        queue_len = problems.options.get(f'{key}queue_len', loss.queue_len)
        with problems.checking():
            self._check_prototypes(batch_size, queue_len)
        with problems.checking():
            check_view_shapes(self, view_shapes)
        problems.report(f'{num_images} images')

    def _check_prototypes(self, batch_size: int, queue_len: int) -> None:
        counts = self.head.loss.num_prototypes
        together, most = batch_size + queue_len, max(counts)
        if most > together:
            raise SettingError(
                f'expected at most {together} prototypes, as many as the '
                f'batch of {batch_size} and the queue of {queue_len} '
                f'have features, got {most}: equal use of all is impossible; '
                'lower num_prototypes or raise queue_len',
                {'model.head.loss.num_prototypes': max(together // 2, 2)}
                if len(counts) == 1
                else {},
            )

    def loss(
        self, inputs: Sequence[Tensor], data_samples: list | None = None
    ) -> dict[str, Tensor]:
        """Loss of a batch.

        Args:
            inputs: Two or more views, (B, C, H, W) each, those of one size
                one after the other.
            data_samples: Not read.

        Returns:
            ``loss`` and ``acc_swap``, see :class:`SwappedPredictionLoss`.

        Raises:
            ValueError: if there are fewer than two views.
        """
        if not isinstance(inputs, list | tuple) or len(inputs) < 2:
            raise ValueError(
                'expected two or more views of every image, got one; '
                'set num_views=[2] in model.data_preprocessor (of type '
                "'DeviceViews') or in SeededMultiView"
            )
        groups = itertools.groupby(inputs, key=lambda view: view.shape)
        maps = [self.backbone(torch.cat(list(views))) for _, views in groups]
        if not isinstance(self.neck, SwAVNeck):
            pooled = torch.cat([pool_features(m) for m in maps])
            (features,) = self.neck([pooled])
        else:
            (features,) = self.neck(maps)
        features = F.normalize(features.float(), dim=1)
        loss, hits = self.head.loss(features, len(inputs))
        return dict(loss=loss, acc_swap=hits)
