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
from .queue import FeatureQueue


@MODELS.register_module()
class AHPCL(BaseModel):
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

    def set_randomness(self, seed: int, iteration: int) -> None:
        """Fix what the next batches draw: (seed, iteration, rank) decide.

        Args:
            seed: Of the run, the same on every rank.
            iteration: Number of training iterations already done.
        """
        self._seed = seed
        self._iteration = iteration

    def forward(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: list | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | list | tuple[Tensor, ...]:
        """Dispatch on ``mode``: 'tensor', 'loss' or 'predict'.

        Raises:
            ValueError: for another mode.
        """
        if mode == 'tensor':
            return self.extract_feat(inputs)
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        raise ValueError(
            f"expected mode 'tensor', 'loss' or 'predict', got {mode!r}"
        )

    def extract_feat(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: list | None = None,
    ) -> tuple[Tensor, ...]:
        """Feature maps of the query backbone.

        Args:
            inputs: (B, C, H, W), or a list of views; the first counts.
            data_samples: Not read; the host's tools pass it.
        """
        return self.backbone(_first_view(inputs))

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
                _sample_indices(data_samples, query.device),
                self._generator('negatives', get_rank()),
            )
        self.queue.enqueue(all_keys)
        self._iteration += 1
        return results

    @torch.no_grad()
    def predict(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: list | None = None,
    ) -> list:
        """Add the pooled features (C,) of the query backbone to the samples.

        Returns:
            The ``data_samples``, each with ``feature``.

        Raises:
            ValueError: without ``data_samples``.
        """
        if data_samples is None:
            raise ValueError(
                'expected data_samples to put the features into, got None; '
                "use mode='tensor' for plain features"
            )
        features = pool_features(self.extract_feat(inputs))
        for sample, feature in zip(data_samples, features, strict=True):
            sample.set_field(feature, 'feature')
        return data_samples

    @torch.no_grad()
    def extract_keys(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        """Features of the E-step: (B, D) unit rows from the key encoder."""
        return _normalise(_encode(*self.encoder_k, _first_view(inputs)))

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


def pool_features(feature_maps: Sequence[Tensor] | Tensor) -> Tensor:
    """Global average pooling of the last map, (B, C, H, W) -> (B, C)."""
    if not isinstance(feature_maps, Tensor):
        feature_maps = feature_maps[-1]
    if feature_maps.ndim == 2:
        return feature_maps.float()
    return feature_maps.float().flatten(2).mean(2)


def _encode(backbone: nn.Module, neck: nn.Module, images: Tensor) -> Tensor:
    return neck(backbone(images))[0]


def _normalise(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=1)


def _first_view(inputs: Tensor | Sequence[Tensor]) -> Tensor:
    return inputs if isinstance(inputs, Tensor) else inputs[0]


def _sample_indices(
    data_samples: list | None, device: torch.device
) -> Tensor | None:
    """(B,) indices of the images in the data set, if they were packed."""
    if not data_samples or 'sample_idx' not in data_samples[0]:
        return None
    indices = [s.sample_idx for s in data_samples]
    indices = [getattr(i, 'value', i) for i in indices]
    if isinstance(indices[0], Tensor):
        return torch.cat([i.reshape(1) for i in indices]).to(device)
    return torch.tensor(indices, device=device)
