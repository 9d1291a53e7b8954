"""The pipelines' random transforms, for a batch on any device.

Every one draws parameters for each sample and applies them to all of them at
once. Images are float32 in 0 ... 255, (B, C, H, W), channels B, G, R where
there are three, and whole numbers after every step, as they are in the
pipelines. Images of other than three channels have no colours: what changes
those leaves them as they are, which is said once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.utils.said import log_once

from .device_resample import resized_crops
from .sample_draws import SampleDraws

Transform = Callable[[Tensor, Tensor, SampleDraws], Tensor]
_LUMA = (0.114, 0.587, 0.299)  # of B, G, R, as in Pillow


class NoCounterpartError(ValueError):
    """A pipeline's transform that cannot be done for a batch on a device."""


def on_device(transform: Any) -> Transform:
    """What a pipeline's transform does, for a batch.

    Args:
        transform: A built transform of the pipeline.

    Raises:
        NoCounterpartError: If there is none for it, or not with its options.
        ImportError: If it needs kornia and that is not installed.
    """
    name = type(transform).__name__
    if name not in _BUILDERS:
        raise NoCounterpartError(
            f'expected transforms that run on the device '
            f'({", ".join(_BUILDERS)}), got {name}'
        )
    return _BUILDERS[name](transform)


def crop_boxes(
    sizes: Tensor,
    draws: SampleDraws,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    attempts: int = 10,
) -> Tensor:
    """Boxes of random area and aspect.

    The first of some attempts that fits the image, else the largest central
    box of an allowed aspect (Szegedy et al., CVPR 2015, as in mmcls).

    Args:
        sizes: Height and width of the images, (B, 2) int64.
        draws: For them.
        scale: Least and largest share of the area.
        ratio: Least and largest width / height.
        attempts: How many.

    Returns:
        Top, left, height and width, (B, 4) int64.
    """
    height, width = sizes[:, :1], sizes[:, 1:]
    low, high = (math.log(r) for r in ratio)
    area = draws.uniform(attempts, *scale) * height * width
    aspect = draws.uniform(attempts, low, high).exp()
    wide = (area * aspect).sqrt().round().long()
    tall = (area / aspect).sqrt().round().long()
    fits = (wide > 0) & (tall > 0) & (wide <= width) & (tall <= height)
    first = fits.int().argmax(dim=1, keepdim=True)
    h, w = tall.gather(1, first)[:, 0], wide.gather(1, first)[:, 0]
    height, width = height[:, 0], width[:, 0]
    own = width.double() / height
    # mmcls rounds what does not fit; the box stays in the image here.
    fallback_h = torch.where(
        own < min(ratio), (width / min(ratio)).round().long(), height
    ).clamp(min=1)
    fallback_w = torch.where(
        own > max(ratio), (height * max(ratio)).round().long(), width
    ).clamp(min=1)
    none = ~fits.any(dim=1)
    top_drawn = draws.below((height - h + 1).clamp(min=1))
    left_drawn = draws.below((width - w + 1).clamp(min=1))
    h = torch.where(none, torch.minimum(fallback_h, height), h)
    w = torch.where(none, torch.minimum(fallback_w, width), w)
    top = torch.where(none, (height - h) // 2, top_drawn)
    left = torch.where(none, (width - w) // 2, left_drawn)
    return torch.stack([top, left, h, w], dim=1)


def _resized_crop(transform: Any) -> Transform:
    size = getattr(transform, 'size', None)  # mmselfsup's; mmcls: scale
    if size is None:
        size, scale = transform.scale, transform.crop_ratio_range
        ratio = transform.aspect_ratio_range
    else:
        scale, ratio = transform.scale, transform.ratio
    if transform.interpolation not in ('bilinear', 'bicubic'):
        raise NoCounterpartError(
            "expected RandomResizedCrop with interpolation 'bilinear' or "
            f"'bicubic' on the device, got {transform.interpolation!r}"
        )
    antialias = transform.backend == 'pillow'

    def apply(images: Tensor, sizes: Tensor, draws: SampleDraws) -> Tensor:
        boxes = crop_boxes(sizes, draws, scale, ratio, transform.max_attempts)
        return resized_crops(
            images,
            boxes,
            (int(size[0]), int(size[1])),
            interpolation=transform.interpolation,
            antialias=antialias,
        )

    return apply


def _flip(transform: Any) -> Transform:
    if not isinstance(transform.prob, float) or transform.direction not in (
        'horizontal',
        'vertical',
    ):
        raise NoCounterpartError(
            'expected RandomFlip with one probability and one direction on '
            f'the device, got {transform.prob} and {transform.direction}'
        )
    axis = 3 if transform.direction == 'horizontal' else 2

    def apply(images: Tensor, sizes: Tensor, draws: SampleDraws) -> Tensor:
        which = _send(draws.chance(transform.prob), images)
        return torch.where(
            which[:, None, None, None], images.flip(axis), images
        )

    return apply


def _some(transform: Any) -> Transform:
    steps = transform.transforms.transforms
    for step in steps:
        if _is_crop(step):
            raise NoCounterpartError(
                'expected RandomApply on the device around transforms that '
                f'keep the size, got {type(step).__name__}'
            )
    inner = [on_device(step) for step in steps]

    def apply(images: Tensor, sizes: Tensor, draws: SampleDraws) -> Tensor:
        which = _send(draws.chance(transform.prob), images)
        done = images
        for step in inner:
            done = step(done, sizes, draws)
        return torch.where(which[:, None, None, None], done, images)

    return apply


def _jitter(transform: Any) -> Transform:
    bounds = [transform.brightness, transform.contrast, transform.saturation]
    hue = transform.hue
    saturation = transform.saturation
    if hue is not None:
        _kornia('the hue of SafeColorJitter')

    def apply(images: Tensor, sizes: Tensor, draws: SampleDraws) -> Tensor:
        order = draws.uniform(4).argsort(dim=1)
        factors = torch.stack(
            [
                draws.uniform(1, *(limits or (1.0, 1.0)))[:, 0]
                for limits in bounds
            ],
            dim=1,
        )
        turn = draws.uniform(1, *(hue or (0.0, 0.0)))[:, 0]
        colours = images.shape[1] == 3
        if not colours:
            if hue is not None or saturation is not None:
                _say_left_out('saturation and hue', images.shape[1])
            factors[:, 2] = 1.0
        for step in range(4):
            kind = order[:, step]
            images = _blend(images, kind, factors)
            if hue is not None and colours:
                images = _turn_hue(images, kind == 3, turn)
        return images

    return apply


def _blend(images: Tensor, kind: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast or saturation, whichever is a sample's turn.

    All three move a pixel along a line: from black, from the image's mean
    gray, or from the pixel's own gray.
    """
    factor = factors.gather(1, kind.clamp(max=2)[:, None])[:, 0]
    factor = torch.where(kind == 3, 1.0, factor)
    if images.shape[1] == 3:
        weights = images.new_tensor(_LUMA)[:, None, None]
        gray = (images * weights).sum(dim=1, keepdim=True).round_()
    else:
        gray = images  # every band has a mean of its own
    mean = gray.mean(dim=(2, 3), keepdim=True).round()
    kind = _send(kind, images)[:, None, None, None]
    base = torch.where(kind == 1, mean, gray)
    base = torch.where(kind == 0, 0.0, base)
    factor = _send(factor.float(), images)[:, None, None, None]
    moved = base + factor * (images - base)
    return moved.clamp_(0, 255).round_()


def _turn_hue(images: Tensor, which: Tensor, turn: Tensor) -> Tensor:
    rows = which.nonzero().squeeze(1)  # on the CPU: nothing is waited for
    if len(rows) == 0:
        return images
    kornia = _kornia('the hue of SafeColorJitter')
    place = _send(rows, images)
    # In steps of 1 / 255 towards zero, as the pipeline's.
    steps = (turn[rows] * 255).trunc() / 256 * 2 * math.pi
    rgb = images[place].flip(1) / 255
    done = kornia.enhance.adjust_hue(rgb, _send(steps.float(), images))
    done = (done.flip(1) * 255).round_().clamp_(0, 255)
    return images.index_copy(0, place, done)


def _grayscale(transform: Any) -> Transform:
    if not transform.keep_channels or transform.color_format != 'bgr':
        raise NoCounterpartError(
            'expected RandomGrayscale with keep_channels=True and '
            "color_format='bgr' on the device, got "
            f'{transform.keep_channels} and {transform.color_format!r}'
        )
    total = sum(transform.channel_weights)
    weights = [w / total for w in transform.channel_weights]

    def apply(images: Tensor, sizes: Tensor, draws: SampleDraws) -> Tensor:
        which = _send(draws.chance(transform.prob), images)
        if images.shape[1] != 3:
            _say_left_out('RandomGrayscale', images.shape[1])
            return images
        gray = images * images.new_tensor(weights)[:, None, None]
        # A little more, as the sum of the weights rounds below 1.
        gray = (gray.sum(dim=1, keepdim=True) + 1e-3).floor_()
        return torch.where(
            which[:, None, None, None], gray.expand_as(images), images
        )

    return apply


def _mix(transform: Any) -> Transform:
    def apply(images: Tensor, sizes: Tensor, draws: SampleDraws) -> Tensor:
        weights = transform.weights_for(images.shape[1])
        if weights is None:
            mix = draws.uniform(images.shape[1], -1.0, 1.0)
        else:
            mix = torch.tensor([weights]).expand(len(images), -1)
        mix = _send(mix.float(), images)[:, :, None, None]
        gray = (images * mix).sum(dim=1, keepdim=True)
        gray = gray - gray.mean(dim=(2, 3), keepdim=True)
        spread = gray.square().mean(dim=(2, 3), keepdim=True).sqrt()
        gray = 128 + 48 * gray / spread.clamp(min=0.1)
        return gray.round_().clamp_(0, 255).expand_as(images)

    return apply


def _blur(transform: Any) -> Transform:
    """As RandomGaussianBlur of mmselfsup, and MMPretrain's GaussianBlur."""
    _kornia('RandomGaussianBlur')
    if hasattr(transform, 'sigma_max'):
        low, high = transform.sigma_min, transform.sigma_max
    elif transform.radius is None and transform.magnitude_std == 'inf':
        low, high = transform.magnitude_range
    else:
        raise NoCounterpartError(
            'expected GaussianBlur with a magnitude_range and magnitude_std='
            f"'inf' on the device, got {transform}"
        )
    side = 2 * math.ceil(3 * high) + 1

    def apply(images: Tensor, sizes: Tensor, draws: SampleDraws) -> Tensor:
        which = draws.chance(transform.prob)
        sigma = draws.uniform(1, low, high)
        rows = which.nonzero().squeeze(1)
        if len(rows) == 0:
            return images
        kornia = _kornia('RandomGaussianBlur')
        place = _send(rows, images)
        own = _send(sigma[rows].float(), images).expand(-1, 2)
        done = kornia.filters.gaussian_blur2d(
            images[place], (side, side), own, 'replicate'
        )
        return images.index_copy(0, place, done.round_().clamp_(0, 255))

    return apply


def _solarize(transform: Any) -> Transform:
    def apply(images: Tensor, sizes: Tensor, draws: SampleDraws) -> Tensor:
        which = _send(draws.chance(transform.prob), images)
        done = torch.where(images < transform.threshold, images, 255 - images)
        return torch.where(which[:, None, None, None], done, images)

    return apply


def _rotate(transform: Any) -> Transform:
    if (
        transform.angle is None
        or transform.interpolation != 'nearest'
        or transform.scale != 1.0
        or transform.center is not None
        or transform.pad_val != 0
    ):
        raise NoCounterpartError(
            'expected Rotate with an angle, nearest interpolation, scale 1, '
            'no centre and pad_val=0 on the device, got '
            f'{transform}'
        )
    _kornia('Rotate')

    def apply(images: Tensor, sizes: Tensor, draws: SampleDraws) -> Tensor:
        which = draws.chance(transform.prob)
        negative = draws.chance(transform.random_negative_prob)
        rows = which.nonzero().squeeze(1)
        if len(rows) == 0:
            return images
        kornia = _kornia('Rotate')
        place = _send(rows, images)
        # mmcls turns clockwise, kornia anticlockwise.
        angle = torch.where(negative[rows], transform.angle, -transform.angle)
        done = kornia.geometry.transform.rotate(
            images[place],
            _send(angle.float(), images),
            mode='nearest',
        )
        return images.index_copy(0, place, done)

    return apply


def _affine(transform: Any) -> Transform:
    low, high = transform.scale
    degrees = transform.degrees
    share_x, share_y = transform.translate

    def apply(images: Tensor, sizes: Tensor, draws: SampleDraws) -> Tensor:
        height, width = images.shape[-2:]
        angle = torch.deg2rad(draws.uniform(1, -degrees, degrees)[:, 0])
        scale = draws.uniform(1, low, high)[:, 0]
        right = draws.uniform(1, -share_x, share_x)[:, 0] * width
        down = draws.uniform(1, -share_y, share_y)[:, 0] * height
        cos, sin, right, down = (
            _send(value.float(), images)[:, None, None]
            for value in (
                angle.cos() / scale,
                angle.sin() / scale,
                right,
                down,
            )
        )
        # Pixels of the moved image, seen from its own centre.
        y = torch.arange(height, device=images.device) - (height - 1) / 2
        x = torch.arange(width, device=images.device) - (width - 1) / 2
        y, x = y[None, :, None] - down, x[None, None, :] - right
        # In halves of the sides, as grid_sample counts.
        place = torch.stack(
            [
                (cos * x - sin * y) * 2 / max(width - 1, 1),
                (sin * x + cos * y) * 2 / max(height - 1, 1),
            ],
            dim=3,
        )
        moved = F.grid_sample(
            images,
            place,
            padding_mode='border',
            align_corners=True,
        )
        return moved.round_()

    return apply


def _say_left_out(what: str, channels: int) -> None:
    """Log once that images have no colours for a transform."""
    log_once(f'images of {channels} channels have no colours: {what} left out')


def _send(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.device, non_blocking=True)


def _kornia(purpose: str) -> Any:
    try:
        import kornia
    except ImportError as error:
        raise ImportError(
            f'{purpose} on the device needs kornia, which is not installed '
            '(pip install kornia)'
        ) from error
    return kornia


_BUILDERS: dict[str, Callable[[Any], Transform]] = {
    'RandomResizedCrop': _resized_crop,
    'RandomFlip': _flip,
    'RandomApply': _some,
    'SafeColorJitter': _jitter,
    'RandomGrayscale': _grayscale,
    'ChannelMix': _mix,
    'RandomGaussianBlur': _blur,
    'GaussianBlur': _blur,
    'RandomSolarize': _solarize,
    'RandomAffine': _affine,
    'Rotate': _rotate,
}


def compose(transforms: Sequence[Any]) -> Transform:
    """Return a pipeline, one transform after the other.

    Args:
        transforms: Built transforms of the pipeline.

    Raises:
        NoCounterpartError: See :func:`on_device`.
        ImportError: See there. On use, a ValueError if images of several
            sizes get to a transform other than a crop.
    """
    steps = [(on_device(step), _is_crop(step)) for step in transforms]

    def apply(images: Tensor, sizes: Tensor, draws: SampleDraws) -> Tensor:
        for step, crops in steps:
            if not crops and (sizes != sizes[:1]).any():
                raise ValueError(
                    'expected views that begin with RandomResizedCrop, as '
                    'images are of several sizes, '
                    f'{tuple(sizes.amin(0).tolist())} to '
                    f'{tuple(sizes.amax(0).tolist())}, got others; put one '
                    'first, or resize the images in train_dataloader.dataset.'
                    'pipeline'
                )
            if not crops:  # a crop reads bytes as they are
                images = images.float()
            images = step(images, sizes, draws)
            if crops:
                sizes = torch.tensor([images.shape[-2:]]).expand(
                    len(images), 2
                )
        return images

    return apply


def _is_crop(transform: Any) -> bool:
    return _BUILDERS.get(type(transform).__name__) is _resized_crop
