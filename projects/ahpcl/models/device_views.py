"""Augmentation on the device, where the model is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS, TRANSFORMS
from torch import Tensor

from ahpcl.utils.view_counts import view_counts

from .device_transforms import compose
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
        train_dataloader = dict(dataset=dict(pipeline=__data.raw_pipeline))

    Views follow the same distribution as on the CPU, not the same draws: a
    view is a function of (seed, epoch, sample_idx, view), the same on every
    device, in any batch and with any number of workers. ``SampleSeedHook``
    tells the epoch and the seed. Without training, as in an E-step, images
    are normalised as :class:`ViewPreprocessor` does.

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
        ValueError: if ``num_views`` does not fit ``views``, or a transform
            has no counterpart on the device.
        ImportError: if a transform needs kornia, which is not installed.
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
        self._pipelines = []
        if views is not None:
            for view, count in zip(
                views, view_counts(views, num_views), strict=True
            ):
                made = compose([TRANSFORMS.build(step) for step in view])
                self._pipelines += [made] * count
        self._epoch, self._seed = 0, 0

    @property
    def num_views(self) -> int:
        """Views of every image; 0 where it only normalises."""
        return len(self._pipelines)

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
                single images, or samples have no ``sample_idx``.
        """
        if not self._pipelines:
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
        images = self.cast_data(data['inputs'][0])
        sizes = data.get('sizes')
        if sizes is None:
            sizes = torch.tensor([images.shape[-2:]]).expand(len(images), 2)
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
