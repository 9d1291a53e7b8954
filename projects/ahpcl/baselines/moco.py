"""MoCo on the host's algorithm, for any queue, device and precision."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.registry import MODELS
from mmselfsup.models.algorithms import MoCo
from mmselfsup.utils import (
    batch_shuffle_ddp,
    batch_unshuffle_ddp,
    concat_all_gather,
)
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ahpcl.core.contrast.batches import full_precision, strict_top1
from ahpcl.models.batch_shuffle import shuffle_batch, unshuffle_batch
from ahpcl.models.fast_encoders import FastEncoders
from ahpcl.models.features import (
    PooledFeatures,
    check_queue_length,
    check_view_shapes,
)
from ahpcl.models.queue import FeatureQueue


@MODELS.register_module()
class MoCoBaseline(FastEncoders, PooledFeatures, MoCo):
    """Momentum contrast, version 1 or 2 by its neck and temperature.

    He et al., "Momentum Contrast for Unsupervised Visual Representation
    Learning", CVPR 2020, algorithm 1; version 2 is Chen et al.,
    arXiv:2003.04297. Encoders, shuffled keys and head are the host's
    ``MoCo``, and so are the values of its momentum update, computed for all
    parameters together. Its own part is what that lacks:

    - the queue takes any length and any batch, where the host asserts that
      one is a multiple of the other, and its random start neither depends on
      the process nor changes the weights;
    - the key encoder starts as the query encoder, where the host copies it
      in the first step only;
    - logits are float32 under autocast, where the host rounds them to
      bfloat16;
    - ``acc_inst`` is logged, and features can be evaluated.

    Differs from the paper's code in what training does not read: the running
    statistics of the key encoder's batch norm are set to the query encoder's
    in every step.

    Args:
        backbone: Config of the backbone.
        neck: Config of the neck; its output has ``feat_dim`` dimensions.
        head: Config of the head, ``ContrastiveHead`` of the host.
        queue_len: Number of negative keys Q.
        feat_dim: Feature dimension D.
        momentum: Of the key encoder, as in the paper: key = momentum * key +
            (1 - momentum) * query.
        memory_format: As in :class:`AHPCL`.
        compile: As in :class:`AHPCL`.
        data_preprocessor: As in mmengine; :class:`ViewPreprocessor` unless a
            type is given.
        init_cfg: As in mmengine.

    Raises:
        ValueError: if ``momentum`` is not between 0 and 1 or the memory
            format is unknown.
    """

    queue: FeatureQueue

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        queue_len: int = 65536,
        feat_dim: int = 128,
        momentum: float = 0.999,
        memory_format: str = 'auto',
        compile: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if not 0 < momentum < 1:
            raise ValueError(
                'expected momentum between 0 and 1 as in the paper, such as '
                f'0.999, got {momentum}'
            )
        super().__init__(
            backbone,
            neck,
            head,
            # The host draws its queue from the global generator, so the
            # weights drawn later would depend on the length.
            queue_len=0,
            feat_dim=feat_dim,
            momentum=momentum,
            data_preprocessor={
                'type': 'ViewPreprocessor',
                **(data_preprocessor or {}),
            },
            init_cfg=init_cfg,
        )
        del self.queue, self.queue_ptr
        self.queue = FeatureQueue(feat_dim, queue_len)
        self.queue_len = queue_len
        self._average = get_ema_multi_avg_fn(momentum)
        self._steps: int | None = None
        self.set_up_encoders(memory_format, compile)

    def init_weights(self) -> None:
        """Initialise the query encoder and copy it to the key encoder."""
        super().init_weights()
        query = nn.Sequential(self.backbone, self.neck)
        self.encoder_k.module.load_state_dict(query.state_dict())

    def check_training(
        self,
        num_images: int,
        batch_size: int,
        view_shapes: Sequence[tuple[int, ...]],
    ) -> None:
        """Refuse data that the settings cannot be trained on.

        Args:
            num_images: N.
            batch_size: Of all ranks together; any is fine.
            view_shapes: (C, H, W) of every view of an image.

        Raises:
            ValueError: if the queue is longer than the data, there are fewer
                than two views, the backbone cannot take one, or there is no
                compiler to compile with.
        """
        self.check_encoders()
        check_queue_length(len(self.queue), num_images)
        _check_views(len(view_shapes))
        check_view_shapes(self, view_shapes)

    def loss(
        self, inputs: Sequence[Tensor], data_samples: list | None = None
    ) -> dict[str, Tensor]:
        """InfoNCE of a batch, and one step of key encoder and queue.

        Args:
            inputs: Two views, (B, C, H, W) each; more are not read.
            data_samples: Not read.

        Returns:
            ``loss_inst`` and ``acc_inst`` in percent.

        Raises:
            ValueError: if there are fewer than two views.
        """
        _check_views(1 if isinstance(inputs, Tensor) else len(inputs))
        query = self.encode_unit(self.backbone, self.neck, inputs[0])
        key = self._encode_keys(inputs[1])
        with full_precision(query.device):
            positive = (query * key).sum(1, keepdim=True)
            negative = query @ self.queue.features
            loss = self.head(positive, negative)
        self._dequeue_and_enqueue(key)
        logits = torch.cat([positive, negative], 1)
        hits = strict_top1(
            logits, torch.zeros_like(logits[:, 0], dtype=torch.long)
        )
        return dict(loss_inst=loss, acc_inst=100.0 * hits.float().mean())

    @torch.no_grad()
    def _encode_keys(self, images: Tensor) -> Tensor:
        """Step the key encoder; unit rows (B, D) of the second view."""
        self._update_key_encoder()
        # One process makes the host's draw, but does not wait for a GPU.
        alone = get_world_size() == 1
        if alone:
            images, order = shuffle_batch(images, torch.default_generator)
        else:
            images, order = batch_shuffle_ddp(images)
        keys = self.encode_unit(*self.encoder_k.module, images)
        if alone:
            return unshuffle_batch(keys, order)[0]
        return batch_unshuffle_ddp(keys, order)

    @torch.no_grad()
    def _update_key_encoder(self) -> None:
        """The host's average: a copy at first, then one that moves.

        The number of steps is read off the device once; the host would wait
        for it twice in every step.
        """
        if self._steps is None:
            self._steps = int(self.encoder_k.steps)
        keys, queries = self.key_and_query_parameters()
        if self._steps == 0:
            torch._foreach_copy_(keys, queries)
        else:
            self._average(keys, queries, None)
        buffers = list(self.encoder_k.module.buffers())
        if buffers:
            sources = [*self.backbone.buffers(), *self.neck.buffers()]
            torch._foreach_copy_(buffers, sources)
        self.encoder_k.steps += 1
        self._steps += 1

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._steps = None

    @torch.no_grad()
    def _dequeue_and_enqueue(self, keys: Tensor) -> None:
        self.queue.enqueue(concat_all_gather(keys))


def _check_views(number: int) -> None:
    if number < 2:
        raise ValueError(
            f'expected two views of every image, got {number}; use '
            'SeededMultiView with num_views=[2] in the pipeline'
        )
