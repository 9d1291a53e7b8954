"""Batch norm over parts of a batch, so that one device acts like several."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module('SplitBN')
class SplitBatchNorm(nn.BatchNorm2d):
    """Batch norm whose training statistics come from parts of the batch.

    MoCo shuffles the keys over the devices so that a query and its key are
    normalised by different statistics and cannot find each other by them. On
    one device there is nothing to shuffle over. Here every consecutive part of
    the batch is normalised by its own mean and variance; together with keys
    shuffled within the batch this has the same effect (He et al., "Momentum
    Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
    section 3.3). The running statistics are the mean over the parts. In
    evaluation it is plain batch norm, and so are its parameters and buffers.

    In configs: ``norm_cfg=dict(type='SplitBN', num_splits=4)``.

    Args:
        num_features: Channels C of the input (B, C, ...).
        num_splits: Parts of a batch. A batch that is not a multiple of it is
            split as evenly as possible, no part with less than two images.
        **kwargs: ``eps``, ``momentum``, ``affine``, ``track_running_stats``
            of :class:`torch.nn.BatchNorm2d`.

    Raises:
        ValueError: if ``num_splits`` is not positive.
    """

    _abbr_ = 'bn'

    def __init__(
        self,
        num_features: int,
        num_splits: int = 4,
        **kwargs: float | bool | None,
    ) -> None:
        super().__init__(num_features, **kwargs)  # type: ignore[arg-type]
        if num_splits < 1:
            raise ValueError(
                f'expected num_splits of at least 1, got {num_splits}; 1 is '
                'plain batch norm'
            )
        self.num_splits = num_splits

    def _check_input_dim(self, input: Tensor) -> None:
        # As batch norm of one, two and three dimensions together, so that
        # the same config serves backbones and necks.
        if input.ndim < 2:
            raise ValueError(
                f'expected (B, C, ...), got the shape {tuple(input.shape)}'
            )

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...) part by part in training."""
        splits = min(self.num_splits, max(len(input) // 2, 1))
        if not self.training or splits == 1:
            return super().forward(input)
        if len(input) % splits == 0:
            return self._forward_even(input, splits)
        parts = input.tensor_split(splits)
        means, variances, outputs = [], [], []
        for part in parts:
            output, mean, variance = self._normalise(part)
            outputs.append(output)
            means.append(mean)
            variances.append(variance)
        self._track(torch.stack(means), torch.stack(variances))
        return torch.cat(outputs)

    def _forward_even(self, input: Tensor, splits: int) -> Tensor:
        """All parts in one call: a part becomes a group of channels."""
        batch, channels, *size = input.shape
        grouped = (
            input.reshape(splits, batch // splits, channels, *size)
            .transpose(0, 1)
            .reshape(batch // splits, splits * channels, *size)
        )
        output, mean, variance = self._normalise(grouped, splits)
        self._track(mean.view(splits, -1), variance.view(splits, -1))
        return (
            output.reshape(batch // splits, splits, channels, *size)
            .transpose(0, 1)
            .reshape(batch, channels, *size)
        )

    def _normalise(
        self, part: Tensor, repeat: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised ``part``, its mean and its unbiased variance."""
        channels = self.num_features * repeat
        # With momentum 1 the "running" statistics are those of this call.
        mean = torch.zeros(channels, device=part.device)
        variance = torch.ones(channels, device=part.device)
        weight = self.weight.repeat(repeat) if self.affine else None
        bias = self.bias.repeat(repeat) if self.affine else None
        output = F.batch_norm(
            part, mean, variance, weight, bias, True, 1.0, self.eps
        )
        return output, mean, variance

    @torch.no_grad()
    def _track(self, means: Tensor, variances: Tensor) -> None:
        """Move the running statistics towards the mean over the parts."""
        if not self.track_running_stats or self.running_mean is None:
            return
        self.num_batches_tracked.add_(1)
        if self.momentum is None:
            factor = 1.0 / float(self.num_batches_tracked)
        else:
            factor = self.momentum
        self.running_mean.lerp_(means.mean(0), factor)
        self.running_var.lerp_(variances.mean(0), factor)
