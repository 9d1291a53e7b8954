"""Batch norm over parts of a batch, so that one device acts like several."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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
        size, larger = divmod(len(input), splits)
        sizes = [size + 1] * larger + [size] * (splits - larger)
        weight = self.weight if self.affine else None
        bias = self.bias if self.affine else None
        # A compiler fuses plain operations and cannot look into the other.
        compiling = torch.compiler.is_compiling()
        normalise = _normalise if compiling else _NormaliseParts.apply
        output, means, variances = normalise(
            input, weight, bias, sizes, self.eps
        )
        self._track(means, variances)
        return output

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


class _NormaliseParts(torch.autograd.Function):
    """Batch norm of consecutive parts, without a copy of the input.

    Every part is a slice, in whatever memory format the input has, and is
    normalised into its slice of the output.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        sizes: Sequence[int],
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised (B, C, ...), means and unbiased variances (S, C)."""
        output = torch.empty_like(input)
        # With momentum 1 the "running" statistics are those of this call.
        statistics = torch.zeros(
            (4, len(sizes), input.shape[1]),
            dtype=torch.promote_types(input.dtype, torch.float32),
            device=input.device,
        )
        means, variances, saved_means, saved_inverses = statistics.unbind()
        for part, target, mean, variance, saved_mean, saved_inverse in zip(
            input.split(sizes),
            output.split(sizes),
            means.unbind(),
            variances.unbind(),
            saved_means.unbind(),
            saved_inverses.unbind(),
            strict=True,
        ):
            torch.native_batch_norm(
                part,
                weight,
                bias,
                mean,
                variance,
                True,
                1.0,
                eps,
                out=(target, saved_mean, saved_inverse),
            )
        ctx.save_for_backward(input, weight, saved_means, saved_inverses)
        ctx.sizes, ctx.eps = sizes, eps
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(means, variances)
        return output, means, variances

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor | None, *_: None
    ) -> tuple[Tensor | None, ...]:
        """Gradients of the input, the weight and the bias."""
        if gradient is None:
            return (None,) * 5
        input, weight, means, inverses = ctx.saved_tensors
        needed = list(ctx.needs_input_grad[:3])
        inputs = torch.empty_like(input) if needed[0] else None
        weights, biases = [], []
        for part_gradient, part, mean, inverse, target in zip(
            gradient.split(ctx.sizes),
            input.split(ctx.sizes),
            means.unbind(),
            inverses.unbind(),
            (input if inputs is None else inputs).split(ctx.sizes),
            strict=True,
        ):
            of_input, of_weight, of_bias = (
                torch.ops.aten.native_batch_norm_backward(
                    part_gradient,
                    part,
                    weight,
                    None,
                    None,
                    mean,
                    inverse,
                    True,
                    ctx.eps,
                    needed,
                )
            )
            if inputs is not None:
                # A part is copied while it is in the cache, and the next one
                # takes its memory: cheaper than to join all at the end.
                target.copy_(of_input)
            weights.append(of_weight)
            biases.append(of_bias)
        return (
            inputs,
            torch.stack(weights).sum(0) if needed[1] else None,
            torch.stack(biases).sum(0) if needed[2] else None,
            None,
            None,
        )


def _normalise(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    sizes: Sequence[int],
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same as :class:`_NormaliseParts` in operations that compile."""
    channels = input.shape[1]
    shape = (1, channels) + (1,) * (input.ndim - 2)
    others = [0, *range(2, input.ndim)]
    outputs, means, variances = [], [], []
    for part in input.split(sizes):
        x = part.to(torch.promote_types(part.dtype, torch.float32))
        variance, mean = torch.var_mean(x, others, correction=0)
        scale = torch.rsqrt(variance + eps)
        y = (x - mean.view(shape)) * scale.view(shape)
        if weight is not None and bias is not None:
            y = y * weight.view(shape) + bias.view(shape)
        outputs.append(y.to(input.dtype))
        means.append(mean.detach())
        number = x.numel() // channels
        variances.append(variance.detach() * (number / max(number - 1, 1)))
    return torch.cat(outputs), torch.stack(means), torch.stack(variances)
