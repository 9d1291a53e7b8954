"""Batch norm over parts of a batch, so that one device acts like several."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Where the whole input no longer stays in a core's cache, one part after the
# other is sooner done.
_SMALL_BYTES = 2**20


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
        if torch.compiler.is_compiling():
            # A compiler fuses plain operations and cannot look into others.
            normalise = _normalise
        elif self.affine and not larger and _is_small(input):
            normalise = _NormaliseTogether.apply
        else:
            normalise = _NormaliseParts.apply
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


def _is_small(input: Tensor) -> bool:
    """Whether a CPU normalises all parts sooner together than one by one.

    That is so for float32 inputs that stay in its cache and have their
    channels last: there every call of torch's batch norm costs as much as its
    work.
    """
    return (
        input.device.type == 'cpu'
        and input.dtype == torch.float32
        and input.nbytes <= _SMALL_BYTES
        and input.movedim(1, -1).is_contiguous()
    )


class _NormaliseTogether(torch.autograd.Function):
    """Batch norm of equal parts in one pass over all of them.

    Every operation sees the input as (S, n, C): parts, values of a part per
    channel, channels. Weight and bias are given.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor,
        sizes: Sequence[int],
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised (B, C, ...), means and unbiased variances (S, C)."""
        shape = (len(sizes), -1, input.shape[1])
        x = input.movedim(1, -1).view(shape)
        number = x.shape[1]
        output = torch.empty_like(input)
        y = output.movedim(1, -1).view(shape)
        mean = x.mean(1, keepdim=True)
        torch.sub(x, mean, out=y)
        squares = torch.linalg.vecdot(y, y, dim=1)
        inverse = torch.rsqrt(squares / number + eps)
        torch.addcmul(bias, y, (inverse * weight).unsqueeze(1), out=y)
        means = mean.squeeze(1)
        variances = squares / (number - 1)
        ctx.save_for_backward(input, weight, means, inverse)
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
        input, weight, mean, inverse = ctx.saved_tensors
        shape = (len(mean), -1, input.shape[1])
        x = input.movedim(1, -1).view(shape)
        g = gradient.movedim(1, -1).reshape(shape)
        of_bias = g.sum(1)
        product = torch.linalg.vecdot(g, x, dim=1)
        of_weight = inverse * torch.addcmul(product, mean, of_bias, value=-1)
        # With x' = (x - mean) * inverse the gradient of the input is
        # scale * (g - mean of g - x' * mean of g x'): linear in g and in x.
        scale = weight * inverse
        share = scale / -x.shape[1]
        slope = share * inverse * of_weight
        constant = torch.addcmul(share * of_bias, slope, mean, value=-1)
        of_input = torch.empty_like(input)
        target = of_input.movedim(1, -1).view(shape)
        torch.addcmul(constant.unsqueeze(1), x, slope.unsqueeze(1), out=target)
        target.addcmul_(g, scale.unsqueeze(1))
        return of_input, of_weight.sum(0), of_bias.sum(0), None, None


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
