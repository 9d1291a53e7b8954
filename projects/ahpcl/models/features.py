"""What every algorithm shares: pooled features, and checks of the data."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ahpcl.core.contrast.batches import to_device
from ahpcl.utils.setting_error import SettingError


class PooledFeatures:
    """Mixin: a model whose evaluation sees the pooled backbone features.

    For subclasses of :class:`mmengine.model.BaseModel` with a ``backbone``
    and a ``loss``. It stands before mmselfsup's class among the bases, so that
    kNN, few-shot and clustering metrics read every method alike.
    """

    backbone: nn.Module

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
            data_samples: Not read; mmselfsup's tools pass it.
        """
        return self.backbone(first_view(inputs))

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


def pool_features(feature_maps: Any) -> Tensor:
    """One row for every image, from whatever a backbone gives.

    ============================  ===========================================
    a backbone gives              its rows (B, C)
    ============================  ===========================================
    several stages                those of the last one
    a map (B, C, H, W)            the mean over its places
    rows (B, C)                   as they are
    tokens (B, L, C)              the first, a ViT's class token
    a map and a class token       the class token
    ============================  ===========================================

    A vision transformer of mmcls or mmselfsup (MoCo v3's among them) gives
    ``[map, class token]`` for every stage; with ``with_cls_token=False`` the
    map alone.

    Args:
        feature_maps: A tensor, or stages, each a tensor or a pair of a map
            and a class token.

    Raises:
        ValueError: For anything else.
    """
    found = feature_maps
    if not isinstance(found, Tensor):
        if not found:
            raise ValueError(_unknown_features(feature_maps))
        if not _is_pair(found):
            found = found[-1]
            if not isinstance(found, Tensor) and len(found) == 2:
                found = found[1]  # beside the mean over the places, too
        else:
            found = found[1]
    if not isinstance(found, Tensor) or found.ndim not in (2, 3, 4):
        raise ValueError(_unknown_features(feature_maps))
    if found.ndim == 3:
        return found[:, 0].float()
    if found.ndim == 2:
        return found.float()
    return found.float().flatten(2).mean(2)


def _is_pair(found: Any) -> bool:
    """Whether it is a map (B, C, H, W) and a class token (B, C)."""
    return (
        isinstance(found, list | tuple)
        and len(found) == 2
        and all(isinstance(part, Tensor) for part in found)
        and [part.ndim for part in found] == [4, 2]
        and found[0].shape[:2] == found[1].shape
    )


def _unknown_features(found: Any) -> str:
    def shown(part: Any) -> str:
        if isinstance(part, Tensor):
            return str(tuple(part.shape))
        if isinstance(part, list | tuple):
            return f'[{", ".join(map(shown, part))}]'
        return type(part).__name__

    return (
        'expected a backbone that gives a map (B, C, H, W), rows (B, C), '
        'tokens (B, L, C), or a map and a class token, for one stage or '
        f'several, got {shown(found)}; set out_indices or output_cls_token of '
        'the backbone'
    )


def first_view(inputs: Tensor | Sequence[Tensor]) -> Tensor:
    """The first of several views, or the only one."""
    return inputs if isinstance(inputs, Tensor) else inputs[0]


def sample_indices(
    data_samples: list | None, device: torch.device
) -> Tensor | None:
    """(B,) indices of the images in the data set, if they were packed.

    Samples on the CPU cost one transfer, which nothing waits for.
    """
    packed = getattr(data_samples, 'indices', None)
    if isinstance(packed, Tensor):
        return to_device(packed, device)
    if not data_samples or 'sample_idx' not in data_samples[0]:
        return None
    indices = [s.sample_idx for s in data_samples]
    indices = [getattr(i, 'value', i) for i in indices]
    if isinstance(indices[0], Tensor):
        return to_device(torch.cat([i.reshape(1) for i in indices]), device)
    return to_device(torch.tensor(indices), device)


def check_queue_length(
    queue_len: int, num_images: int, key: str = 'model.queue_len'
) -> None:
    """Refuse a queue in which an image would meet its own older keys.

    Args:
        queue_len: Keys in the queue.
        num_images: N.
        key: Where a config has the length.

    Raises:
        SettingError: if the queue is longer than the data.
    """
    if queue_len > num_images:
        raise SettingError(
            f'expected a queue of at most {num_images} keys, as many as there '
            f'are training images, got {queue_len}: every image would be its '
            f'own negative; lower {key}, to a quarter of the images or less',
            {key: max(num_images // 4, 1)},
        )


def _check_channels(backbone: nn.Module, channels: int) -> None:
    """Refuse views of another number of channels than the encoder takes."""
    convolutions = (m for m in backbone.modules() if isinstance(m, nn.Conv2d))
    first = next(convolutions, None)
    if first is not None and first.in_channels != channels:
        raise ValueError(
            f'expected images of {first.in_channels} channels for '
            f'{type(backbone).__name__}, got {channels}; set model.backbone.'
            f'in_channels={channels}, or channels={first.in_channels} on '
            'every dataset'
        )


@torch.no_grad()
def check_view_shapes(
    model: nn.Module,
    view_shapes: Sequence[tuple[int, ...]],
    neck: nn.Module | None = None,
) -> int | None:
    """Pass one empty image of every size through the backbone.

    Args:
        model: With ``backbone``; it is left as it was.
        view_shapes: (C, H, W) of every view.
        neck: What takes the output of the backbone as it is, if anything
            does; left as it was.

    Returns:
        Dimensions that the neck gives; None without one.

    Raises:
        ValueError: if the backbone cannot take one of the sizes, takes
            another number of channels, or the neck cannot take what the
            backbone gives.
    """
    backbone = model.backbone
    training = backbone.training
    parameter = next(model.parameters())
    backbone.eval()
    dimensions = None
    if neck is not None:
        neck.eval()
    try:
        for shape in dict.fromkeys(map(tuple, view_shapes)):
            _check_channels(backbone, shape[0])
            image = parameter.new_zeros(1, *shape)
            height, width = shape[-2:]
            try:
                found = backbone(image)
            except (RuntimeError, ValueError, AssertionError) as error:
                raise ValueError(
                    f'expected views that {type(backbone).__name__} can take, '
                    f'got one of {height} x {width} pixels: {error}; change '
                    'the crop sizes of the train pipeline or the backbone'
                ) from error
            pool_features(found)
            if neck is not None:
                dimensions = _check_neck(neck, found)
    finally:
        backbone.train(training)
        if neck is not None:
            neck.train(training)
    return dimensions


def _check_neck(neck: nn.Module, found: Any) -> int:
    """Pass what a backbone gave through a neck; answers its dimensions."""
    try:
        rows = neck(found)
        while not isinstance(rows, Tensor):
            rows = rows[-1]
        return rows.shape[-1]
    except (
        *(AssertionError, AttributeError, RuntimeError, TypeError),
        ValueError,
    ) as error:
        tokens = ''
        if not isinstance(found, Tensor) and not isinstance(found[-1], Tensor):
            tokens = (
                ' The backbone gives maps with class tokens: set '
                'model.backbone.output_cls_token=False, or a neck that takes '
                "tokens, dict(type='NonLinearNeck', vit_backbone=True, "
                'with_avg_pool=False, ...)'
            )
        raise ValueError(
            f'expected a neck that takes what the backbone gives, got '
            f'{type(neck).__name__}: {type(error).__name__}: {error}; change '
            f'model.neck, such as its in_channels.{tokens}'
        ) from error
