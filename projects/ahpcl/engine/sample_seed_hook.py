"""Tells the samplers and the augmentations which epoch it is."""

from mmengine.hooks import DistSamplerSeedHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ahpcl.datasets import set_epoch


@HOOKS.register_module()
class SampleSeedHook(DistSamplerSeedHook):
    """The host's sampler hook, which also reaches ``SeededMultiView``.

    With it the augmentation of an image depends on (seed, epoch, index, view)
    alone: not on the worker that loads it, nor on where training was resumed.
    Takes the place of ``DistSamplerSeedHook`` in ``default_hooks``.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Pass (seed, epoch) on before the loader is iterated."""
        super().before_train_epoch(runner)
        dataset = runner.train_loop.dataloader.dataset
        set_epoch(dataset, runner.epoch, runner.seed)
