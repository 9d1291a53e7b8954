"""The algorithm: momentum contrast with a head that knows prototypes."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ahpcl.core import seed_from

from .batch_shuffle import gather_batches, shuffle_batch, unshuffle_batch
from .features import (
    PooledFeatures,
    check_queue_length,
    check_view_shapes,
    first_view,
    sample_indices,
)
from .queue import FeatureQueue


@MODELS.register_module()
class AHPCL(PooledFeatures, BaseModel):
    """Adaptive hierarchical prototypical contrastive learning, the M-step.

    MoCo v2 (Chen et al., arXiv:2003.04297) whose head also contrasts with the
    prototypes that ``AdaptiveClusterHook`` hands to it. Works on any device,
    alone or in parallel.

    Args:
        backbone: Config of the backbone.
        neck: Config of the neck; its output has ``feat_dim`` dimensions.
        head: Config of the head, an :class:`HPCLHead`.
        queue_len: Number of negative keys Q, of any relation to the batch.
        feat_dim: Feature dimension D.
        momentum: Of the key encoder, as in the paper: key = momentum * key +
            (1 - momentum) * query.
        shuffle_bn: Shuffle the keys over the ranks, on one device within the
            batch (of use with ``SplitBN``).
        data_preprocessor: As in mmengine; ``SelfSupDataPreprocessor`` of the
            host unless a type is given.
        init_cfg: As in mmengine.

    Raises:
        ValueError: if ``momentum`` is not in [0, 1).
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        queue_len: int = 65536,
        feat_dim: int = 128,
        momentum: float = 0.999,
        shuffle_bn: bool = True,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(
                'expected momentum in [0, 1) as in the paper, such as 0.999, '
                f'got {momentum}'
            )
        if data_preprocessor is None:
            data_preprocessor = {}
        if isinstance(data_preprocessor, dict):
            data_preprocessor = {
                'type': 'SelfSupDataPreprocessor',
                **data_preprocessor,
            }
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.head = MODELS.build(head)
        self.encoder_k = nn.ModuleList([self.backbone, self.neck])
        self.encoder_k = copy.deepcopy(self.encoder_k).requires_grad_(False)
        self.queue = FeatureQueue(feat_dim, queue_len)
        self.momentum = momentum
        self.shuffle_bn = shuffle_bn
        self._average = get_ema_multi_avg_fn(momentum)
        self._seed = 0
        self._iteration = 0

    def init_weights(self) -> None:
        """Initialise the query encoder and copy it to the key encoder."""
        super().init_weights()
        self.copy_query_to_key()

    @torch.no_grad()
    def copy_query_to_key(self) -> None:
        """Make the key encoder equal to the query encoder."""
        state = nn.ModuleList([self.backbone, self.neck]).state_dict()
        self.encoder_k.load_state_dict(state)

    def check_training(
        self,
        num_images: int,
        batch_size: int,
        view_shapes: Sequence[tuple[int, ...]],
    ) -> None:
        """Refuse data that the settings cannot be trained on.

        Args:
            num_images: N.
            batch_size: Of all ranks together.
            view_shapes: (C, H, W) of every view of an image.

        Raises:
            ValueError: if the queue is longer than the data, or the backbone
                cannot take a view.
        """
        check_queue_length(len(self.queue), num_images)
        check_view_shapes(self, view_shapes)

    def set_randomness(self, seed: int, iteration: int) -> None:
        """Fix what the next batches draw: (seed, iteration, rank) decide.

        Args:
            seed: Of the run, the same on every rank.
            iteration: Number of training iterations already done.
        """
        self._seed = seed
        self._iteration = iteration

    def loss(
        self, inputs: Sequence[Tensor], data_samples: list | None = None
    ) -> dict[str, Tensor]:
        """Losses and accuracies of a batch, and one step of the queue.

        Args:
            inputs: Two views, (B, C, H, W) each.
            data_samples: B samples with ``sample_idx``.

        Raises:
            ValueError: if there are fewer than two views.
        """
        if not isinstance(inputs, list | tuple) or len(inputs) < 2:
            raise ValueError(
                'expected two views of every image, got '
                f'{len(inputs) if isinstance(inputs, list | tuple) else 1}; '
                'use SeededMultiView with num_views=[2] in the pipeline'
            )
        query = _normalise(_encode(self.backbone, self.neck, inputs[0]))
        key, all_keys = self._encode_keys(inputs[1])
        with torch.autocast(query.device.type, enabled=False):
            results = self.head(
                query,
                key,
                # The update below must not reach what backward still needs.
                self.queue.features.clone(),
                sample_indices(data_samples, query.device),
                self._generator('negatives', get_rank()),
            )
        self.queue.enqueue(all_keys)
        self._iteration += 1
        return results

    @torch.no_grad()
    def extract_keys(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        """Features of the E-step: (B, D) unit rows from the key encoder."""
        return _normalise(_encode(*self.encoder_k, first_view(inputs)))

    @torch.no_grad()
    def _encode_keys(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Update the key encoder; keys of this rank and of all ranks."""
        self._update_key_encoder()
        if not self.shuffle_bn:
            key = _normalise(_encode(*self.encoder_k, images))
            return key, gather_batches(key)
        images, order = shuffle_batch(images, self._generator('shuffle'))
        key = _normalise(_encode(*self.encoder_k, images))
        return unshuffle_batch(key, order)

    @torch.no_grad()
    def _update_key_encoder(self) -> None:
        keys = list(self.encoder_k.parameters())
        queries = [*self.backbone.parameters(), *self.neck.parameters()]
        self._average(keys, queries, None)

    def _generator(self, purpose: str, rank: int = 0) -> Generator:
        seed = seed_from(self._seed, purpose, self._iteration, rank)
        return torch.Generator().manual_seed(seed)


def _encode(backbone: nn.Module, neck: nn.Module, images: Tensor) -> Tensor:
    return neck(backbone(images))[0]


def _normalise(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=1)
