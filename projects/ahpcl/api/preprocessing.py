"""How a run turns an image into what its encoder takes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch import Tensor, nn

from ahpcl.compat.frameworks import scope_of
from ahpcl.datasets.decode import admit_pixels, explain
from ahpcl.datasets.image_size import gives_size
from ahpcl.datasets.pixel_format import USUAL, PixelFormat
from ahpcl.datasets.transforms import LoadImageBGR
from ahpcl.datasets.transforms.band_wise import fit_pipeline

from .image_items import ImageItem
from .scopes import in_scope


class UnreadableImageError(ValueError):
    """An image that cannot be decoded; the message names it."""


class Preprocessing:
    """The deterministic pipeline of a run: any image to pixels of one size.

    Where the pipeline of a run leaves the size as it is (data sets whose
    images are of one size), an image of another one is brought to it: resized
    by its short edge (bicubic, Pillow), then cropped in the middle. Steps that
    change values (``ChannelMix``) come after that.

    Args:
        pipeline: Configs of transforms, the first of which loads an image.
            What packs the result is left out.
        size: Height and width of what comes out, in px; None where the run
            does not tell, and the images of a batch must be alike.
        scope: Scope of the transforms' names.

    Attributes:
        pipeline: As given, without what packs.
        size: As given.
        changes: Those steps of it that change the values of pixels.
    """

    def __init__(
        self,
        pipeline: Sequence[dict],
        size: tuple[int, int] | None,
        scope: str,
    ) -> None:
        self.pipeline = [
            dict(step)
            for step in pipeline
            if not str(step['type']).rpartition('.')[2].startswith('Pack')
        ]
        self.size = size
        self.changes = [s for s in self.pipeline if _changes_values(s)]
        others = [s for s in self.pipeline if not _changes_values(s)]
        with in_scope(scope):
            steps: list[Callable[[dict], dict | None]] = [
                TRANSFORMS.build(copy.deepcopy(step)) for step in others
            ] or [LoadImageBGR()]
            changes = [
                TRANSFORMS.build(copy.deepcopy(step)) for step in self.changes
            ]
        load = next((s for s in steps if isinstance(s, LoadImageBGR)), None)
        #: How files become 8 bits.
        self.pixels = USUAL if load is None else load.pixels
        self._transform = Compose(steps)
        self._change = Compose(changes)
        for part in (self._transform, self._change):
            fit_pipeline(part, self.pixels)

    @property
    def channels(self) -> int:
        """Bands of every image."""
        return self.pixels.channels

    def set_pixels(self, pixels: PixelFormat) -> None:
        """Read files by another format, of as many bands."""
        self.pixels = pixels
        for step in self._transform.transforms:
            if isinstance(step, LoadImageBGR):
                step.pixels = pixels

    @classmethod
    def of(cls, config: Config) -> Preprocessing:
        """Take the pipeline of the E-step from the config of a run.

        Raises:
            ValueError: If the config has none.
        """
        # Images as large as those that the run was allowed.
        admit_pixels(max_pixels_of(config))
        return cls(_pipeline(config), _size(config), scope_of(config))

    def __call__(self, item: ImageItem) -> Tensor:
        """Return the pixels of an image, (C, H, W), as the run loads them.

        Raises:
            UnreadableImageError: If it cannot be decoded or transformed.
        """
        try:
            results = self._transform(item.sample(self.channels))
            assert results is not None
            pixels = results['img']
        except Exception as error:  # Pillow's readers raise many kinds
            cause = error.__cause__
            reason = explain(
                cause if isinstance(cause, Exception) else error, item.name
            )
            raise UnreadableImageError(
                f'expected a readable image, got {item.name}: {reason}; leave '
                "it out, or set on_unreadable='skip' (--skip-unreadable in "
                'the shell)'
            ) from error
        if self.size is not None and pixels.shape[:2] != self.size:
            pixels = _fit(pixels, self.size)
        if self.changes:
            pixels = self._change(dict(results, img=pixels))['img']
        return torch.from_numpy(
            np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        )


def _changes_values(step: Mapping[str, Any]) -> bool:
    name = str(step['type']).rpartition('.')[2]
    return not gives_size(step) and not name.startswith(('Load', 'Set'))


class Normalise(nn.Module):
    """What the data preprocessor of a run does to pixels, and no more.

    Args:
        mean: Mean of every channel, after the exchange; None leaves the
            values as they are.
        std: Standard deviation of every channel.
        swap: Whether channels are exchanged first: B, G, R to R, G, B.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        swap: bool = False,
    ) -> None:
        super().__init__()
        self.swap = swap
        self.mean: Tensor | None
        self.std: Tensor | None
        for name, values in (('mean', mean), ('std', std)):
            known = None if values is None else torch.tensor(values).float()
            shaped = None if known is None else known.view(-1, 1, 1)
            self.register_buffer(name, shaped, persistent=False)

    @classmethod
    def of(cls, config: Config) -> Normalise:
        """Take mean, deviation and channel order from the config of a run."""
        settings: Mapping[str, Any] = (
            config.model.get('data_preprocessor')
            or config.get('data_preprocessor')
            or {}
        )
        swap = settings.get('bgr_to_rgb') or settings.get('rgb_to_bgr')
        return cls(settings.get('mean'), settings.get('std'), bool(swap))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) of any type to float32."""
        if self.swap and pixels.shape[1] == 3:
            pixels = pixels[:, [2, 1, 0]]
        images = pixels.float()
        if self.mean is None or self.std is None:
            return images
        return (images - self.mean) / self.std


def _pipeline(config: Config) -> list[dict]:
    """Return the transforms of a data set, the first of which reads as it."""
    dataset = dataset_of(config)
    steps = [dict(s) for s in dataset['pipeline'] if s['type'] != 'SetRole']
    options: dict[str, Any] = {}
    if isinstance(dataset.get('channels'), int):  # the run knows its images
        names = ('channels', 'range', 'pages')
        options['pixels'] = {n: dataset[n] for n in names if n in dataset}
    if dataset.get('decoded_max_side') is not None:
        options['max_side'] = dataset['decoded_max_side']
    for step in steps:
        if str(step['type']).endswith('LoadImageBGR'):
            step.update(options)
    return steps


def dataset_of(config: Config) -> Any:
    """Return the settings of a data set that reads images without drawing."""
    for hook in config.get('custom_hooks') or []:
        loader = hook.get('extract_dataloader')
        if loader is not None:
            return loader['dataset']
    loader = config.get('extract_dataloader')
    if loader is None:
        loader = config.get('val_dataloader') or config.get('test_dataloader')
    while loader is not None:
        dataset = loader.get('dataset', loader)
        if dataset.get('pipeline') is not None:
            return dataset
        inner = dataset.get('datasets')
        loader = inner[0] if inner else None
    raise ValueError(
        'expected a config with an extract_dataloader, whose pipeline says '
        'how images are prepared, got one without; inherit one of '
        'configs/_base_/datasets'
    )


def max_pixels_of(config: Config) -> int | None:
    """Return how large images a config admits; None for the usual limit."""
    found = [
        int(node['max_pixels'])
        for node in _walk(config._cfg_dict)
        if isinstance(node.get('max_pixels'), int | float)
    ]
    return max(found, default=None)


def _size(config: Config) -> tuple[int, int] | None:
    """Find the size of the images that the encoder takes, (H, W) in px."""
    if config.get('input_size') is not None:
        height, width = config.input_size
        return int(height), int(width)
    for step in reversed(_pipeline(config)):
        name = str(step['type']).rpartition('.')[2]
        if name == 'CenterCrop':
            return _pair(step['crop_size'])
        if name == 'Resize' and not step.get('keep_ratio', False):
            width, height = _pair(step['scale'])
            return height, width
    for step in _walk(config.get('train_dataloader')):
        if 'img_size' in step and isinstance(step['img_size'], int):
            return _pair(step['img_size'])
    places = (config.get('train_dataloader'), config.get('model'))
    crops = [
        step['size'] if 'size' in step else step['scale']
        for place in places
        for step in _walk(place)
        if str(step.get('type', '')).endswith('RandomResizedCrop')
    ]
    return _pair(max(crops, key=lambda c: _pair(c)[0])) if crops else None


def _walk(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from _walk(child)


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)


def _fit(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize and crop (H, W, C) in the middle, channel by channel."""
    height, width = size
    scale = max(height / pixels.shape[0], width / pixels.shape[1])
    new = (
        max(width, round(pixels.shape[1] * scale)),
        max(height, round(pixels.shape[0] * scale)),
    )
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(pixels[:, :, place])).resize(
                new, Image.Resampling.BICUBIC
            )
        )
        for place in range(pixels.shape[2])
    ]
    top, left = (new[1] - height) // 2, (new[0] - width) // 2
    fitted = np.stack(planes, axis=2)
    return fitted[top : top + height, left : left + width]
