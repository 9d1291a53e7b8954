"""Augmentation on the device, where the model is."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor

from .device_transforms import Transform, compose
from .features import sample_indices
from .sample_draws import SampleDraws
from .view_preprocessor import ViewPreprocessor

_BLOCK = 4096


@MODELS.register_module()
class DeviceViews(ViewPreprocessor):
    """Makes the views of a batch on the device, from images as they are.

    The pipelines are those of the data set's own ``SeededMultiView``, which
    passes images through from then on: one line in a config,
    ``model=dict(data_preprocessor=dict(type='DeviceViews'))``, moves the
    augmentation. Views follow the same distribution as on the CPU, not the
    same draws: a view is a function of (seed, epoch, sample_idx, view), the
    same on every device, in any batch and with any number of workers.

    Args:
        mean: As in the host.
        std: As in the host.
        bgr_to_rgb: As in the host.
        rgb_to_bgr: As in the host.
        non_blocking: Send images without waiting for them.
        resident: Hold all images on the device, so that only their indices
            travel: True, False, or ``'auto'`` for where they are decoded and
            fit (never on a CPU, which has them already).
        resident_share: Of the free memory of the device, at most.

    Raises:
        ValueError: for another ``resident``, or a share that is none.
    """

    def __init__(
        self,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        bgr_to_rgb: bool = False,
        rgb_to_bgr: bool = False,
        non_blocking: bool = True,
        resident: bool | str = False,
        resident_share: float = 0.5,
    ) -> None:
        super().__init__(mean, std, bgr_to_rgb, rgb_to_bgr, non_blocking)
        if resident not in (True, False, 'auto'):
            raise ValueError(
                "expected resident to be True, False or 'auto', got "
                f'{resident!r}'
            )
        if not 0 < resident_share <= 1:
            raise ValueError(
                'expected resident_share above 0, at most 1, got '
                f'{resident_share}'
            )
        self.resident = resident
        self.resident_share = resident_share
        self._pipelines: list[tuple[Transform, int]] = []
        self._source: Any = None
        self._images: Tensor | None = None

    def take_over(self, dataset: Any, views: list[Any]) -> None:
        """Make the views of a data set from now on.

        Args:
            dataset: Of the training.
            views: Its ``SeededMultiView``.

        Raises:
            ValueError: if there is not one of them, a transform has no
                counterpart on the device, or the images should be resident
                and are not decoded or too many.
            ImportError: if a transform needs kornia.
        """
        if len(views) != 1:
            raise ValueError(
                'expected one SeededMultiView in the pipeline for '
                f'DeviceViews, got {len(views)}; use ViewPreprocessor'
            )
        (source,) = views
        self._pipelines = [
            (compose(pipeline.transforms), count)
            for pipeline, count in zip(
                source.pipelines, source.num_views, strict=True
            )
        ]
        self._source = source
        source.on_device = True
        if self._wants_resident():
            self._hold(dataset)
        source.resident = self._images is not None

    def forward(
        self, data: dict, training: bool = False
    ) -> tuple[list[Tensor], list | None]:
        """Views of a batch of raw images; other batches as the parent.

        Args:
            data: ``inputs``, a list of one tensor (B, 3, H, W), uint8, B, G,
                R (not read where images are resident); ``data_samples`` with
                ``sample_idx``; and ``sizes`` (B, 2) where they differ.
            training: Whether views are to be made, once taken over.

        Raises:
            ValueError: if the batch is no dict, or samples have no
                ``sample_idx``.
        """
        if not training or self._source is None:
            return super().forward(data, training)
        if not isinstance(data, dict):
            raise ValueError(
                'expected a batch as a dict for DeviceViews, got '
                f"{type(data).__name__}; set collate_fn=dict(type='"
                "collate_batches') in train_dataloader"
            )
        samples = data.get('data_samples')
        indices = sample_indices(samples, torch.device('cpu'))
        if indices is None:
            raise ValueError(
                'expected samples with sample_idx for DeviceViews, got none; '
                "set algorithm_keys=['sample_idx'] in PackSelfSupInputs"
            )
        images, sizes = self._raw(data, indices)
        epoch, seed = self._source.clock.get()
        views: list[Tensor] = []
        with (
            torch.no_grad(),
            torch.autocast(images.device.type, enabled=False),
        ):
            for make, count in self._pipelines:
                for _ in range(count):
                    draws = SampleDraws(seed, epoch, indices, len(views))
                    views.append(self._normalise(make(images, sizes, draws)))
        return views, samples

    def _raw(self, data: dict, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images on the device, uint8, and their sizes on the CPU."""
        if self._images is not None:
            images = self._images[indices.to(self._images.device)]
        else:
            images = self.cast_data(data['inputs'][0])
        sizes = data.get('sizes')
        if sizes is None:
            sizes = torch.tensor([images.shape[-2:]]).expand(len(images), 2)
        return images, sizes.cpu()

    def _wants_resident(self) -> bool:
        if self.resident == 'auto':
            return self.device.type != 'cpu'
        return bool(self.resident)

    def _hold(self, dataset: Any) -> None:
        """Copy all images to the device, if they are at hand and fit."""
        get = getattr(dataset, 'image_block', None)
        first = None if get is None else get([0])
        if first is None:
            self._cannot(
                'the images are not decoded; give the data set a decoded_cache'
            )
            return
        number = len(dataset)
        need, free = number * first[0].nbytes, self._free()
        if need > free * self.resident_share:
            self._cannot(
                f'{number} images take {need / 2**30:.2f} GiB, and '
                f'{self.resident_share:.0%} of the free memory is '
                f'{free * self.resident_share / 2**30:.2f} GiB; set '
                'resident=False, or reduce them (decoded_max_side)'
            )
            return
        blocks = [
            get(range(start, min(start + _BLOCK, number)))
            for start in range(0, number, _BLOCK)
        ]
        ragged = (
            any(sizes is not None for _, sizes in blocks)
            or len({block.shape[1:] for block, _ in blocks}) > 1
        )
        if ragged:
            self._cannot(
                'the images differ in size; resize them, or set resident=False'
            )
            return
        self._images = torch.cat(
            [block.to(self.device) for block, _ in blocks]
        )

    def _free(self) -> float:
        if self.device.type == 'cuda':
            return torch.cuda.mem_get_info(self.device)[0]
        return float('inf')

    def _cannot(self, reason: str) -> None:
        message = f'images cannot be held on {self.device}: {reason}'
        if self.resident is True:
            raise ValueError(message)
        print_log(message, 'current', logging.INFO)
