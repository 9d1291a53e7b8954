"""Gives metrics the model, where features alone are not enough."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ahpcl.utils.unwrap import unwrap


@HOOKS.register_module()
class ModelAccessHook(Hook):
    """Hands the unwrapped model to every metric that has ``set_model``.

    Needed in ``custom_hooks`` for :class:`FineTuneMetric` in a val or test
    loop.
    """

    def before_val_epoch(self, runner: Runner) -> None:
        """Hand the model over before the first batch of the validation."""
        self._hand_over(runner, runner.val_loop.evaluator)

    def before_test_epoch(self, runner: Runner) -> None:
        """Hand the model over before the first batch of the test."""
        self._hand_over(runner, runner.test_loop.evaluator)

    def _hand_over(self, runner: Runner, evaluator: object) -> None:
        for metric in evaluator.metrics:
            if hasattr(metric, 'set_model'):
                metric.set_model(unwrap(runner.model))
