"""Augmentation on the device, where the model is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS, TRANSFORMS
from torch import Tensor

from ahpcl.utils.view_counts import view_counts

from .device_transforms import NoCounterpartError, compose
from .features import sample_indices
from .sample_draws import SampleDraws
from .view_preprocessor import ViewPreprocessor


@MODELS.register_module()
class DeviceViews(ViewPreprocessor):
    """Makes the views of a batch on the device, from images as they are.

    Its ``views`` are pipelines such as those of ``SeededMultiView``; in a
    config both come from one variable, and the data set's own pipeline loads
    and packs the images, no more::

        _base_ = '_base_/scales/digits.py'
        __data = _base_.pop('data')
        model = dict(
            data_preprocessor=dict(
                type='DeviceViews', views=[__data.view_pipeline], num_views=[2]
            )
        )
        train_dataloader = dict(dataset=dict(pipeline=__data.train_pipeline))

    Views follow the same distribution as on the CPU, not the same draws: a
    view is a function of (seed, epoch, sample_idx, view), the same on every
    device, in any batch and with any number of workers. ``SampleSeedHook``
    tells the epoch and the seed. Without training, as in an E-step, images
    are normalised as :class:`ViewPreprocessor` does.

    Where kornia is not installed or a transform has no counterpart on the
    device, the views are those of ``SeededMultiView``, made on the CPU image
    by image, and the log says why.

    Args:
        views: Pipelines, each a list of transforms; None makes no views, for
            a model that is not trained.
        num_views: Number of views from each pipeline, by default one; a
            single number where there is one pipeline.
        mean: As in :class:`ViewPreprocessor`.
        std: As in :class:`ViewPreprocessor`.
        bgr_to_rgb: As in :class:`ViewPreprocessor`.
        rgb_to_bgr: As in :class:`ViewPreprocessor`.
        non_blocking: Send images without waiting for them.

    Raises:
        ValueError: if ``num_views`` does not fit ``views``.
    """

    def __init__(
        self,
        views: Sequence[Sequence[dict]] | None = None,
        num_views: int | Sequence[int] | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        bgr_to_rgb: bool = False,
        rgb_to_bgr: bool = False,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(mean, std, bgr_to_rgb, rgb_to_bgr, non_blocking)
        counts = [] if views is None else view_counts(views, num_views)
        self._num_views = sum(counts)
        self._pipelines: list[Any] = []
        self._on_cpu: Any = None
        try:
            for view, count in zip(views or (), counts, strict=True):
                made = compose([TRANSFORMS.build(step) for step in view])
                self._pipelines += [made] * count
        except (NoCounterpartError, ImportError) as error:
            self._on_cpu = TRANSFORMS.build(
                dict(type='SeededMultiView', views=views, num_views=counts)
            )
            print_log(
                f'DeviceViews: {error}. The views are made on the CPU, one '
                'image after the other in the process that trains: a step '
                'takes 1.3 to 1.6 times as long on a CPU, and a GPU waits '
                'for it. Loader workers can share the work, see '
                'docs/speed.md',
                logger='current',
                level=logging.WARNING,
            )
        self._epoch, self._seed = 0, 0

    @property
    def num_views(self) -> int:
        """Views of every image; 0 where it only normalises."""
        return self._num_views

    @property
    def falls_back(self) -> bool:
        """Whether the views are made on the CPU, image by image."""
        return self._on_cpu is not None

    def set_epoch(self, epoch: int, seed: int) -> None:
        """Set what the views of the next batches depend on.

        Args:
            epoch: Epoch, from 0.
            seed: Seed of the run.
        """
        self._epoch, self._seed = epoch, seed

    def forward(
        self, data: dict, training: bool = False
    ) -> tuple[list[Tensor], list | None]:
        """Views of a batch of images; without training, images themselves.

        Args:
            data: See :meth:`make_views`.
            training: Whether views are to be made.

        Raises:
            ValueError: see :meth:`make_views`.
        """
        if not training:
            return super().forward(data, training)
        return self.make_views(data, self._epoch, self._seed)

    @torch.no_grad()
    def make_views(
        self, data: dict, epoch: int, seed: int
    ) -> tuple[list[Tensor], list | None]:
        """Views of a batch as they are in an epoch of a run.

        Args:
            data: ``inputs``, a list of one tensor (B, C, H, W), uint8, B, G,
                R where C is 3; ``data_samples`` with ``sample_idx``; and
                ``sizes`` (B, 2), heights and widths, where they differ.
            epoch: Epoch, from 0.
            seed: Seed of the run.

        Returns:
            Normalised views (B, C, h, w), those of the first pipeline first,
            and the samples untouched.

        Raises:
            ValueError: if there are no ``views``, the batch is no dict of
                single images, samples have no ``sample_idx``, or images are
                of several sizes and the views do not begin with a crop.
        """
        if not self._num_views:
            raise ValueError(
                'expected views for DeviceViews, got none; set model.'
                'data_preprocessor.views to the pipelines of SeededMultiView, '
                'and take that out of train_dataloader.dataset.pipeline'
            )
        if not isinstance(data, dict):
            raise ValueError(
                'expected a batch as a dict for DeviceViews, got '
                f"{type(data).__name__}; set collate_fn=dict(type='"
                "collate_batches') in train_dataloader"
            )
        if len(data['inputs']) != 1:
            raise ValueError(
                'expected one image of every sample for DeviceViews, got '
                f'{len(data["inputs"])} views; take SeededMultiView out of '
                'train_dataloader.dataset.pipeline'
            )
        samples = data.get('data_samples')
        indices = sample_indices(samples, torch.device('cpu'))
        if indices is None:
            raise ValueError(
                'expected samples with sample_idx for DeviceViews, got none; '
                "set algorithm_keys=['sample_idx'] in PackSelfSupInputs"
            )
        images = data['inputs'][0]
        sizes = data.get('sizes')
        if sizes is None:
            sizes = torch.tensor([images.shape[-2:]]).expand(len(images), 2)
        if self._on_cpu is not None:
            self._on_cpu.set_epoch(epoch, seed)
            views = self._views_on_cpu(images.cpu(), sizes.cpu(), indices)
            return [self._normalise(view) for view in views], samples
        images = self.cast_data(images)
        with torch.autocast(images.device.type, enabled=False):
            views = [
                self._normalise(
                    make(
                        images,
                        sizes.cpu(),
                        SampleDraws(seed, epoch, indices, number),
                    )
                )
                for number, make in enumerate(self._pipelines)
            ]
        return views, samples

    def _views_on_cpu(
        self, images: Tensor, sizes: Tensor, indices: Tensor
    ) -> list[Tensor]:
        """Return what the CPU's pipeline makes, uint8 (B, 3, h, w) each."""
        found: list[list[Tensor]] = [[] for _ in range(self._num_views)]
        for image, size, index in zip(
            images, sizes.tolist(), indices.tolist(), strict=True
        ):
            pixels = image[:, : size[0], : size[1]].permute(1, 2, 0)
            made = self._on_cpu(
                dict(
                    img=pixels.contiguous().numpy(),
                    img_shape=tuple(size),
                    ori_shape=tuple(size),
                    sample_idx=index,
                )
            )
            for views, view in zip(found, made['img'], strict=True):
                views.append(torch.from_numpy(view.copy()).permute(2, 0, 1))
        for views in found:
            shapes = sorted({tuple(view.shape[1:]) for view in views})
            if len(shapes) > 1:
                raise ValueError(
                    f'expected views of one size in a batch, got {shapes[0]} '
                    f'and {shapes[-1]}; put RandomResizedCrop first into the '
                    'views'
                )
        return [torch.stack(views) for views in found]
