"""The algorithm: momentum contrast with a head that knows prototypes."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ahpcl.core import seed_from
from ahpcl.core.contrast.batches import to_device
from ahpcl.utils.setting_error import Problems, SettingError

from .batch_shuffle import gather_batches, shuffle_batch, unshuffle_batch
from .cluster_space import build_cluster_space
from .fast_encoders import FastEncoders, encode
from .feature_bank import FeatureBank
from .features import (
    PooledFeatures,
    check_queue_length,
    check_view_shapes,
    first_view,
    pool_features,
    sample_indices,
)
from .queue import FeatureQueue
from .views import encode_by_size, plan_views


@MODELS.register_module()
class AHPCL(FastEncoders, PooledFeatures, BaseModel):
    """Adaptive hierarchical prototypical contrastive learning, the M-step.

    MoCo v2 (Chen et al., arXiv:2003.04297) whose head also contrasts with the
    prototypes that ``AdaptiveClusterHook`` hands to it. Works on any device,
    alone or in parallel. Without the hook it is MoCo v2, or version 1 with a
    ``LinearNeck`` and the temperature 0.07.

    The model is complete by itself: it counts its training steps, draws what
    it draws by (seed, step, rank), and makes the key encoder a copy of the
    query encoder before the first step, whatever weights were loaded into the
    query encoder by then. A training that goes on keeps its key encoder: the
    number of steps is in the state of the model.

    The pipeline may give any number of views. The second one is the key; all
    others are queries, also those of smaller crops (multi-crop, Caron et al.,
    NeurIPS 2020), and the losses are means over the query views. The key
    encoder never sees a small crop. Views of one size go through the query
    encoder together. The accuracies are means over the query views of full
    size, so that they mean the same with and without small crops.

    Args:
        backbone: Config of the backbone.
        neck: Config of the neck; its output has ``feat_dim`` dimensions.
        head: Config of the head, an :class:`HPCLHead`.
        queue_len: Number of negative keys Q, of any relation to the batch.
        feat_dim: Feature dimension D.
        momentum: Momentum of the key encoder, in [0, 1), as in the paper:
            key = momentum * key + (1 - momentum) * query.
        shuffle_bn: Shuffle the keys over the ranks, on one device within the
            batch (of use with ``SplitBN``).
        symmetric: The first two views are query and key in turn: every query
            view is contrasted with the keys of both, but not with its own,
            and its instance loss is the mean over them. Only the keys of the
            second view enter the queue, one per image, so that it reaches as
            far back as without. Takes a second pass of the key encoder.
        cluster_space: What the E-step clusters: ``'projection'``, the keys;
            or ``'whitened'``, the pooled features of the key backbone, see
            :class:`WhitenedFeatures`, with a prototype loss that needs no
            centroids, such as :class:`ClusterClassifierLoss`.
        memory_format: Layout of weights and images: ``'auto'``,
            ``'contiguous'`` or ``'channels_last'``, see
            :func:`choose_memory_format`.
        compile: Send both encoders through ``torch.compile``. (Not the
            ``compile`` of the Runner, which would compile the head and its
            changing shapes as well.)
        data_preprocessor: As in mmengine; :class:`ViewPreprocessor` unless a
            type is given.
        init_cfg: As in mmengine.

    Raises:
        ValueError: if ``momentum`` is not in [0, 1), the memory format is
            unknown, or the head cannot work in the space of the clusters.
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
        symmetric: bool = False,
        cluster_space: str = 'projection',
        memory_format: str = 'auto',
        compile: bool = False,
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
                'type': 'ViewPreprocessor',
                **data_preprocessor,
            }
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.head = MODELS.build(head)
        self.encoder_k = nn.ModuleList([self.backbone, self.neck])
        self.encoder_k = copy.deepcopy(self.encoder_k).requires_grad_(False)
        self.cluster_space = build_cluster_space(cluster_space, neck)
        if self.cluster_space is not None:
            self.head.check_free_of_centroids()
        self.queue = FeatureQueue(feat_dim, queue_len)
        self.momentum = momentum
        self.shuffle_bn = shuffle_bn
        self.symmetric = symmetric
        self._average = get_ema_multi_avg_fn(momentum)
        # The Runner seeds torch before it builds a model.
        self._initial_seed = torch.initial_seed()
        self._seed: int | None = None
        self._steps = 0
        self._bank: FeatureBank | None = None
        self.set_up_encoders(memory_format, compile)

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
            batch_size: Images of a batch, over all ranks.
            view_shapes: (C, H, W) of every view of an image.

        Raises:
            ValueError: if the queue is longer than the data, the first two
                views are not the large ones, the backbone cannot take a
                view, or there is no compiler to compile with.
        """
        self.check_encoders()
        problems = Problems()
        with problems.checking():
            check_queue_length(len(self.queue), num_images)
        with problems.checking():
            plan_views([shape[-2:] for shape in view_shapes], self.symmetric)
        with problems.checking():
            given = check_view_shapes(self, view_shapes, self.neck)
            self._check_dimensions(given)
        problems.report(f'{num_images} images')

    def _check_dimensions(self, given: int | None) -> None:
        """Refuse a queue or a loss of another dimension than the neck's.

        Raises:
            SettingError: If they differ.
        """
        if given is None:
            return
        kept = {'model.feat_dim': len(self.queue.features)}
        learnt = getattr(self.head.loss_proto, 'feat_dim', given)
        kept['model.head.loss_proto.feat_dim'] = learnt
        for name, dimensions in kept.items():
            if dimensions != given:
                raise SettingError(
                    f'expected {name}={given}, the dimensions that the neck '
                    f'gives, got {dimensions}; set it, or out_channels of '
                    'the neck',
                    {name: given},
                )

    def start_training(self, seed: int, iteration: int) -> None:
        """Start a training, or go on with one, as the run says.

        At iteration 0 the key encoder becomes a copy of the query encoder.
        Without this call the seed is torch's initial one on rank 0, and the
        steps are those of the loaded state.

        Args:
            seed: Seed of the run, the same on every rank.
            iteration: Number of training iterations that are done.
        """
        self._seed = seed
        self._steps = iteration
        if iteration == 0:
            self.copy_query_to_key()

    def get_extra_state(self) -> Tensor:
        """The number of training steps, for the state dict."""
        return torch.tensor(self._steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the number of training steps of a state dict."""
        self._steps = int(state)

    @staticmethod
    def upgrade_state_dict(state: dict[str, Tensor], prefix: str = '') -> None:
        """Bring the weights of an older version up to date, in place.

        Version 0.1 did not count the steps, and its ``MoCoBaseline`` kept the
        key encoder under another name.

        Args:
            state: The state dict of this model, or of one that contains it.
            prefix: What the names of this model begin with.
        """
        own, steps = f'{prefix}encoder_k.', f'{prefix}_extra_state'
        for name in [n for n in state if n.startswith(f'{own}module.')]:
            state[own + name.removeprefix(f'{own}module.')] = state.pop(name)
        counted = state.pop(f'{own}steps', None)
        if steps not in state and any(name.startswith(own) for name in state):
            # At least one: this key encoder is no start.
            one = torch.tensor(1)
            state[steps] = one if counted is None else counted

    def keep_keys(self, num_images: int) -> FeatureBank:
        """Keep the key of every image from now on, for the E-step.

        Args:
            num_images: N.

        Returns:
            The bank, which every training step writes to.

        Raises:
            ValueError: if it is not the keys that are clustered.
        """
        if self.cluster_space is not None:
            raise ValueError(
                "expected model.cluster_space='projection' with features="
                "'bank', which keeps projections, got 'whitened'; set "
                "custom_hooks.0.features='extract'"
            )
        queue = self.queue.features
        self._bank = FeatureBank(num_images, len(queue), queue.device)
        return self._bank

    def loss(
        self, inputs: Sequence[Tensor], data_samples: list | None = None
    ) -> dict[str, Tensor]:
        """Losses and accuracies of a batch, and one step of the queue.

        Args:
            inputs: Two views or more, (B, C, H, W) each.
            data_samples: B samples with ``sample_idx``.

        Raises:
            ValueError: if there are fewer than two views, or the first two
                are not the largest.
        """
        if self._steps == 0:
            self.copy_query_to_key()
        views = [inputs] if isinstance(inputs, Tensor) else inputs
        plan = plan_views([v.shape[-2:] for v in views], self.symmetric)
        queries = encode_by_size(
            self._encode_query, [views[v] for v in plan.queries]
        )
        self._update_key_encoder()
        shuffle = self._generator('shuffle')
        encoded = [self._encode_keys(views[v], shuffle) for v in plan.keys]
        keys = [[encoded[p][0] for p in own] for own in plan.targets]
        device = queries[0].device
        # On the CPU, where the head looks the clusters up.
        indices = sample_indices(data_samples, torch.device('cpu'))
        with torch.autocast(device.type, enabled=False):
            results = self.head(
                queries,
                keys,
                self.queue.features,
                indices,
                self._generator('negatives', get_rank()),
                plan.num_large,
            )
        self.queue.enqueue(encoded[0][1])
        if self._bank is not None:
            everywhere = gather_batches(to_device(indices, device))
            self._bank.write(everywhere, encoded[0][1])
        self._steps += 1
        return results

    @torch.no_grad()
    def extract_keys(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        """(B, D) unit rows from the key encoder, in the clusters' space."""
        backbone, neck = self.encoder_k
        space = neck if self.cluster_space is None else self.cluster_space
        return encode(backbone, space, first_view(inputs))

    @torch.no_grad()
    def extract_pooled_keys(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        """(B, C) pooled features of the key backbone."""
        return pool_features(self.encoder_k[0](first_view(inputs)))

    def _encode_query(self, images: Tensor) -> Tensor:
        return self.encode_unit(self.backbone, self.neck, images)

    @torch.no_grad()
    def _encode_keys(
        self, images: Tensor, shuffle: Generator
    ) -> tuple[Tensor, Tensor]:
        """Keys (B, D) of this rank and (world * B, D) of all ranks."""
        if not self.shuffle_bn:
            key = self.encode_unit(*self.encoder_k, images)
            return key, gather_batches(key)
        images, order = shuffle_batch(images, shuffle)
        key = self.encode_unit(*self.encoder_k, images)
        return unshuffle_batch(key, order)

    @torch.no_grad()
    def _update_key_encoder(self) -> None:
        self._average(*self.key_and_query_parameters(), None)

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any
    ) -> None:
        self.upgrade_state_dict(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _generator(self, purpose: str, rank: int = 0) -> Generator:
        if self._seed is None:  # every rank shuffles alike
            seeds = [self._initial_seed]
            broadcast_object_list(seeds)
            self._seed = seeds[0]
        seed = seed_from(self._seed, purpose, self._steps, rank)
        return torch.Generator().manual_seed(seed)
