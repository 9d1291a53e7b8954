"""Tells samplers, augmentations and models which step it is."""

from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import DistSamplerSeedHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ahpcl.core import seed_from
from ahpcl.datasets import set_epoch
from ahpcl.models.protocols import MakesViews, StartsTraining
from ahpcl.utils.ranks import unwrap


@HOOKS.register_module()
class SampleSeedHook(DistSamplerSeedHook):
    """mmengine's sampler hook, which also seeds augmentation and step.

    With it the augmentation of an image depends on (seed, epoch, index, view)
    alone: not on the worker that loads it, nor on where training was resumed.
    Transforms on the CPU and views on the device get epoch and seed alike.
    A model that draws by itself (``start_training``) does so by the seed of
    the run and the iteration, whatever other hooks there are. What it draws
    from torch's global generator in a step (dropout) depends on (seed,
    iteration, rank).
    Takes the place of ``DistSamplerSeedHook`` in ``default_hooks``.
    """

    def before_train(self, runner: Runner) -> None:
        """Seed the model, and say how many iterations are done."""
        model = unwrap(runner.model)
        if isinstance(model, StartsTraining):
            model.start_training(runner.seed, runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        """Pass (seed, epoch) on before the loader is iterated."""
        super().before_train_epoch(runner)
        dataset = runner.train_loop.dataloader.dataset
        set_epoch(dataset, runner.epoch, runner.seed)
        preprocessor = unwrap(runner.model).data_preprocessor
        if isinstance(preprocessor, MakesViews):
            preprocessor.set_epoch(runner.epoch, runner.seed)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Seed torch by (seed, iteration, rank)."""
        seed = seed_from(runner.seed, 'step', runner.iter, get_rank())
        torch.manual_seed(seed)
