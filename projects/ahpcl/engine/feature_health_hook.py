"""Watches the representation while it is trained, without labels."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ahpcl.core.metrics.feature_health import collapse_alarms, feature_health
from ahpcl.utils.ranks import unwrap

from .two_views import two_view_features


@HOOKS.register_module()
class FeatureHealthHook(Hook):
    """Logs RankMe, alignment, uniformity and spread; warns of collapse.

    After every ``interval`` epochs two views of some training images pass
    through the query backbone. The training is not touched: with the hook
    and without it a run has the same weights, bit for bit. Every rank does
    the same work, without a collective call, and rank 0 writes.

    Args:
        interval: Epochs between two measurements.
        num_images: Number of images, taken evenly from the training set.
        **limits: Limits of
            :func:`ahpcl.core.metrics.feature_health.collapse_alarms`.

    Raises:
        ValueError: If a number is below 1, or 2 images.
        TypeError: If a limit is unknown.
    """

    priority = 'LOW'

    def __init__(
        self, interval: int = 1, num_images: int = 1024, **limits: float
    ) -> None:
        if interval < 1 or num_images < 2:
            raise ValueError(
                'expected interval of at least 1 and num_images of at least '
                f'2, got {interval} and {num_images}'
            )
        collapse_alarms({}, **limits)
        self.interval = interval
        self.num_images = num_images
        self.limits = limits

    def after_train_epoch(self, runner: Runner) -> None:
        """Measure and log."""
        if not self.every_n_epochs(runner, self.interval):
            return
        views = two_view_features(
            unwrap(runner.model),
            runner.train_loop.dataloader.dataset,
            self.num_images,
            seed=runner.seed,
        )
        bad = int((~torch.isfinite(torch.cat(views, dim=1))).any(1).sum())
        if bad:
            runner.logger.warning(
                f'health after epoch {runner.epoch + 1}: features of {bad} '
                f'of {len(views[0])} images with NaN or infinity; the encoder '
                'has diverged, resume an earlier checkpoint with a lower '
                'learning rate'
            )
            return
        health = feature_health(views[0], views)
        runner.visualizer.add_scalars(
            {f'health/{name}': value for name, value in health.items()},
            step=runner.iter,
        )
        runner.logger.info(
            f'health after epoch {runner.epoch + 1}: '
            + ', '.join(f'{name} {v:.3f}' for name, v in health.items())
        )
        for alarm in collapse_alarms(health, **self.limits):
            runner.logger.warning(alarm)
