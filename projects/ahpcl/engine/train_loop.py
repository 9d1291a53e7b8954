"""The host's training loop, which looks before it starts."""

from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from .optimizer_state import align_optimizer_state
from .unwrap import unwrap


@LOOPS.register_module()
class CheckedEpochTrainLoop(EpochBasedTrainLoop):
    """``EpochBasedTrainLoop`` with clear errors before the first step.

    Where there is no batch the host fails in a scheduler, whose message says
    nothing of images. A model with ``check_training(num_images, batch_size,
    view_shapes)`` is asked whether it can be trained on the data.

    Args:
        runner: As in the host.
        dataloader: As in the host.
        max_epochs: As in the host.
        val_begin: As in the host.
        val_interval: As in the host.

    Raises:
        ValueError: if there are fewer images than a batch needs, or the
            model refuses the data.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
    ) -> None:
        super().__init__(
            runner, dataloader, max_epochs, val_begin, val_interval
        )
        if len(self.dataloader) == 0:
            images = len(self.dataloader.dataset)
            raise ValueError(
                f'expected at least one batch of training images, got '
                f'{images} images for batches of '
                f'{self.dataloader.batch_size} on {runner.world_size} '
                'process(es); lower train_dataloader.batch_size or add images'
            )
        check = getattr(unwrap(runner.model), 'check_training', None)
        if check is not None:
            dataset = self.dataloader.dataset
            views = dataset[0]['inputs']
            check(
                num_images=len(dataset),
                batch_size=self.dataloader.batch_size * runner.world_size,
                view_shapes=[tuple(view.shape) for view in views],
            )

    def run(self) -> nn.Module:
        """Train, with the optimizer's state laid out as the parameters."""
        for wrapper in _wrappers(self.runner.optim_wrapper):
            align_optimizer_state(wrapper.optimizer)
        return super().run()


def _wrappers(wrapper: OptimWrapper | OptimWrapperDict) -> list[OptimWrapper]:
    if isinstance(wrapper, OptimWrapperDict):
        return list(wrapper.values())
    return [wrapper]
