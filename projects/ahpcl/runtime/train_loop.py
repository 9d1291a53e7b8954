"""mmengine's training loop, with checks before it starts, that can stop."""

import errno
import logging
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from ahpcl.datasets.image_size import check_image_size
from ahpcl.runtime.atomic_checkpoint_hook import AtomicCheckpointHook
from ahpcl.runtime.checkpoint_writing import cannot_write
from ahpcl.runtime.fault_guard import FaultGuard
from ahpcl.runtime.invalid_values import explained_invalid_values
from ahpcl.runtime.kept_pixels import keep_pixels
from ahpcl.runtime.mid_epoch import keep_epoch, without_first
from ahpcl.runtime.optimizer_state import align_optimizer_state
from ahpcl.runtime.resume_settings import ResumeSettings
from ahpcl.runtime.start_checks import check_start
from ahpcl.runtime.stop_request import StopRequest, TrainingStopped
from ahpcl.runtime.train_state import TrainState
from ahpcl.utils.own_folder import mark_folder

# The disk is full, cannot be written, is broken, or a quota is spent.
_DISK = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT)


@LOOPS.register_module()
class CheckedEpochTrainLoop(EpochBasedTrainLoop):
    """``EpochBasedTrainLoop`` with clear errors, that stops and goes on.

    SIGTERM, SIGUSR1 and Ctrl-C end it after the step, with a checkpoint
    (:class:`StopRequest` says more), an error is logged with where to go on
    from (:class:`FaultGuard`), and a run that is resumed from within an
    epoch begins with the next batch. An epoch whose validation a kill
    cut short is validated when the run goes on.

    Where there is no batch mmengine fails in a scheduler, whose message says
    nothing of images. Here batch, model and hooks are asked whether they can
    be trained on the data, and what does not fit is refused together, see
    :func:`ahpcl.runtime.start_checks.check_start`.

    Args:
        runner: The runner.
        dataloader: Loader of the training images, or its config.
        max_epochs: Number of epochs.
        val_begin: Epoch from which on the model is validated.
        val_interval: Epochs between two validations.
        extend: How a run that is resumed goes on where its length, optimizer
            or schedule was changed: ``'stretch'``, ``'restart'`` or
            ``'keep'``, see :class:`ResumeSettings`; None refuses that.

    Raises:
        ValueError: if there are fewer images than a batch needs, if the
            model or a hook refuses the data, or pipelines disagree about the
            size of images.

    Attributes:
        first_batch: Number of the batch with which an epoch goes on that was
            begun before the run was resumed; None in any other epoch.
    """

    first_batch: int | None = None

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        extend: str | None = None,
    ) -> None:
        # Before the images are listed: they may lie around it.
        if is_main_process():
            mark_folder(runner.work_dir)
        resumed = ResumeSettings(extend)
        check_image_size(runner.cfg)
        super().__init__(
            runner, dataloader, max_epochs, val_begin, val_interval
        )
        self._state = TrainState.of(runner)
        runner.register_hook(resumed)
        check_start(runner, self.dataloader)

    def run(self) -> nn.Module:
        """Train, with the optimizer's state laid out as the parameters.

        Raises:
            FloatingPointError: If something is NaN or infinite; names the
                last good checkpoint.
            RuntimeError: If the work folder cannot be written any more; names
                the last good checkpoint.
            TrainingStopped: After a signal that asks for it.
        """
        for wrapper in _wrappers(self.runner.optim_wrapper):
            align_optimizer_state(wrapper.optimizer)
        ranks = (self.runner.cfg.get('env_cfg') or {}).get('dist_cfg') or {}
        self._stop = StopRequest(ranks.get('timeout'))
        self._guard = FaultGuard(self.runner, self._saver(), self._place)
        try:
            with (
                self._stop.listening(),
                self._guard.watching(),
                explained_invalid_values(self.runner),
            ):
                return self._run()
        except OSError as error:
            folder = Path(self.runner.work_dir).resolve()
            name = error.filename
            inside = isinstance(name, str) and (
                folder in Path(name).resolve().parents
            )
            if not inside and error.errno not in _DISK:
                raise
            saver = self._saver()
            good = None if saver is None else saver.last_good
            raise cannot_write(name or folder, error, good) from error

    def resume_mid_epoch(self, batches: int) -> None:
        """Go on within an epoch; called while a checkpoint is resumed.

        Args:
            batches: Batches of the epoch that are done.
        """
        self.first_batch = batches

    def _run(self) -> nn.Module:
        self._done: int | None = None
        self.runner.call_hook('before_train')
        keep_epoch(self.runner, self._state)
        keep_pixels(self.runner, self._state)
        self._guard.ready()
        if self.first_batch is None and self._epoch:
            self._validate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self._stop_if_asked(None)
            self.run_epoch()
            self._validate()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Iterate one epoch, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        first, self.first_batch = self.first_batch or 0, None
        self.runner.model.train()
        self._done = first
        self._stop_if_asked(first)
        saver, last = self._saver(), len(self.dataloader)
        due = False
        with without_first(self.dataloader, first) as batches:
            for done, batch in enumerate(batches, first + 1):
                with self._guard.changing():
                    self.run_iter(done - 1, batch)
                self._done = done
                due = saver is not None and saver.is_step_due(self._iter)
                if done == last:  # the epoch ends first
                    break
                self._stop_if_asked(done)
                if due:
                    saver.save_within(self.runner, done)
        with self._guard.changing():
            self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        self._done = None
        if due and not saver.has_epoch(self._epoch):
            saver.save_within(self.runner, None)

    def _validate(self) -> None:
        self._decide_current_val_interval()
        if (
            self.runner.val_loop is not None
            and self._epoch >= self.val_begin
            and (
                self._epoch % self.val_interval == 0
                or self._epoch == self._max_epochs
            )
        ):
            self.runner.val_loop.run()

    def _place(self) -> tuple[int, int | None]:
        begun = self.first_batch if self._done is None else self._done
        return self._epoch, begun

    def _stop_if_asked(self, done: int | None) -> None:
        """End here if a signal asked for it; a collective call.

        Args:
            done: Batches of the epoch; None between two epochs.

        Raises:
            TrainingStopped: If one did, when the state is saved.
        """
        code = self._stop.asked()
        if not code:
            return
        saver = self._saver()
        where = 'no checkpoint: the config has no AtomicCheckpointHook'
        if saver is not None:
            where = f'saved as {saver.save_within(self.runner, done)}'
            where += '; go on with --resume'
        print_log(
            f'stopped by a signal in epoch {self._epoch + 1} after '
            f'{done or 0} batches: {where} (exit code {code})',
            logger='current',
            level=logging.WARNING,
        )
        raise TrainingStopped(code)

    def _saver(self) -> AtomicCheckpointHook | None:
        hooks = self.runner.hooks
        found = [h for h in hooks if isinstance(h, AtomicCheckpointHook)]
        return found[0] if found else None


def _wrappers(wrapper: OptimWrapper | OptimWrapperDict) -> list[OptimWrapper]:
    if isinstance(wrapper, OptimWrapperDict):
        return list(wrapper.values())
    return [wrapper]
