"""The host's training loop, which looks before it starts."""

import errno
from pathlib import Path

from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from .optimizer_state import align_optimizer_state
from .unwrap import unwrap
from .whole_checkpoint_hook import WholeCheckpointHook, cannot_write

# The disk is full, cannot be written, is broken, or a quota is spent.
_DISK = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT)


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
        """Train, with the optimizer's state laid out as the parameters.

        Raises:
            RuntimeError: If the work folder cannot be written any more; names
                the last good checkpoint.
        """
        for wrapper in _wrappers(self.runner.optim_wrapper):
            align_optimizer_state(wrapper.optimizer)
        try:
            return super().run()
        except OSError as error:
            folder = Path(self.runner.work_dir).resolve()
            name = error.filename
            inside = isinstance(name, str) and (
                folder in Path(name).resolve().parents
            )
            if not inside and error.errno not in _DISK:
                raise
            hooks = [
                hook
                for hook in self.runner.hooks
                if isinstance(hook, WholeCheckpointHook)
            ]
            good = hooks[0].last_good if hooks else None
            raise cannot_write(name or folder, error, good) from error


def _wrappers(wrapper: OptimWrapper | OptimWrapperDict) -> list[OptimWrapper]:
    if isinstance(wrapper, OptimWrapperDict):
        return list(wrapper.values())
    return [wrapper]
