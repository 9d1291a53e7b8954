"""Checkpoints written atomically, and a pointer to the last good one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ahpcl.runtime.checkpoint_files import (
    POINTER,
    age_of,
    checkpoints_within,
    newest_checkpoint,
    within_epoch,
)
from ahpcl.runtime.checkpoint_writing import PART, point, write_checkpoint
from ahpcl.runtime.train_state import TrainState, is_resume
from ahpcl.utils.ranks import on_rank_0


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, whose files survive a kill.

    mmengine writes a checkpoint in place, deletes the oldest one before, and
    then writes ``last_checkpoint``: a kill in between leaves a broken newest
    file, and with ``max_keep_ckpts=1`` nothing else. Here a checkpoint is
    written to another name, flushed to the disk and renamed; then
    ``last_checkpoint`` names it; then older ones are deleted. If it cannot be
    written, as on a full disk, training stops on all ranks with an error
    that names the last good one.

    A run that is asked to stop writes one within the epoch
    (``epoch_3_batch_17.pth``: three epochs and 17 batches). Two of those are
    kept until the next epoch ends.

    Args:
        *args: Arguments of mmengine's hook.
        step_interval: Steps between two checkpoints within epochs, for epochs
            of hours; None for none.
        **kwargs: Arguments of mmengine's hook, which does the writing itself
            where the folder is not local.

    Raises:
        ValueError: If ``step_interval`` is not positive.
    """

    #: The newest checkpoint that is complete, as far as this run knows.
    last_good: str | None = None

    def __init__(
        self, *args: Any, step_interval: int | None = None, **kwargs: Any
    ) -> None:
        if step_interval is not None and step_interval < 1:
            raise ValueError(
                'expected step_interval of at least 1, or None, got '
                f'{step_interval}'
            )
        super().__init__(*args, **kwargs)
        self.step_interval = step_interval
        self._saved_epoch: int | None = None

    def before_run(self, runner: Runner) -> None:
        """Let there be a state before a checkpoint is loaded."""
        TrainState.of(runner)

    def before_train(self, runner: Runner) -> None:
        """Delete what a killed run left half written."""
        super().before_train(runner)
        if is_resume(runner):
            known = getattr(runner, '_load_from', None)
            known = known or newest_checkpoint(runner.work_dir)
            self.last_good = None if known is None else str(known)
        if self._is_local() and is_main_process():
            for left in Path(self.out_dir).glob(f'*.pth{PART}'):
                left.unlink(missing_ok=True)

    def after_train(self, runner: Runner) -> None:
        """Write the last checkpoint of a run that a condition stopped."""
        if (
            runner.train_loop.stop_training
            and self.save_last
            and self.by_epoch
        ):
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, runner.epoch, meta)
        super().after_train(runner)

    def is_step_due(self, step: int) -> bool:
        """Whether a checkpoint is due after so many steps."""
        return (
            self.step_interval is not None and step % self.step_interval == 0
        )

    def has_epoch(self, epoch: int) -> bool:
        """Whether the end of this epoch has its own checkpoint."""
        return self._saved_epoch == epoch

    def save_within(self, runner: Runner, batches: int | None) -> str:
        """Write a checkpoint before the end of an epoch; a collective call.

        Args:
            runner: The runner.
            batches: Batches of the epoch that are done; None where it has
                not begun.

        Returns:
            Path of the file.
        """
        name = within_epoch(runner.epoch, batches or 0)
        path = Path(self.out_dir) / name
        self.last_ckpt = str(path)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        state = TrainState.of(runner)
        with state.within_epoch(batches), self._atomic_saves(runner):
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=dict(epoch=runner.epoch, iter=runner.iter),
                **self.args,
            )
        self._point_at(runner, path, [], kept=2)
        return str(path)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse weights that are no numbers; runs on rank 0 only.

        Raises:
            FloatingPointError: If a weight is NaN or infinite, so that the
                last good checkpoint stays the last.
        """
        for name, value in checkpoint['state_dict'].items():
            floats = torch.is_tensor(value) and value.is_floating_point()
            if floats and not value.isfinite().all():
                raise FloatingPointError(
                    f'NaN or infinity in {name} before a checkpoint'
                )

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict
    ) -> None:
        if not self._is_local():
            super()._save_checkpoint_with_step(runner, step, meta)
            self.last_good = self.last_ckpt
            self._saved_epoch = meta['epoch']
            return
        outdated = self._keep(runner, step)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir) / name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        with self._atomic_saves(runner):
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                **self.args,
            )
        too_many = [
            Path(self.out_dir) / self.filename_tmpl.format(old)
            for old in outdated
        ]
        self._point_at(runner, Path(self.last_ckpt), too_many, kept=0)
        self._saved_epoch = meta['epoch']

    def _point_at(
        self, runner: Runner, path: Path, outdated: list[Path], kept: int
    ) -> None:
        """Let the pointer name a new checkpoint, and delete old ones.

        Args:
            runner: The runner.
            path: Path of the new checkpoint.
            outdated: Checkpoints at the ends of epochs that are deleted.
            kept: How many older ones within epochs stay, at most.
        """
        if not self._is_local():
            return
        pointer = Path(runner.work_dir) / POINTER

        def work() -> None:
            age = age_of(path)
            within = [
                other
                for other in checkpoints_within(self.out_dir)
                if age is None or age_of(other) <= age
            ]
            point(pointer, str(path), [*outdated, *within[kept:]])

        on_rank_0(work, 'pointing at the checkpoint')
        self.last_good = str(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        # A validation alone has no folder to save to.
        if not self.save_best or not self._is_local():
            super()._save_best_checkpoint(runner, metrics)
            return
        with self._atomic_saves(runner), self._best_kept(runner):
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _best_kept(self, runner: Runner) -> Iterator[None]:
        """Within, the best checkpoint stays until a better one is there.

        mmengine removes it, and records the better one, before it writes.
        """
        info = runner.message_hub.runtime_info
        best = {key: info[key] for key in info if key.startswith('best_')}
        paths = self._best_paths()
        backend, self.file_backend = self.file_backend, _KeepingBackend()
        outdated = self.file_backend.outdated
        try:
            yield
        except BaseException:
            for key in [key for key in info if key.startswith('best_')]:
                del info[key]
            info.update(best)
            for name, value in paths.items():
                setattr(self, name, value)
            raise
        finally:
            self.file_backend = backend
        kept = self._best_paths()
        current = {
            Path(path).resolve()
            for path in (
                kept.get('best_ckpt_path'),
                *kept.get('best_ckpt_path_dict', {}).values(),
            )
            if path is not None
        }
        folder = Path(self.out_dir).resolve()

        def remove() -> None:
            for path in {Path(old).resolve() for old in outdated} - current:
                if path.parent == folder:  # of this run
                    path.unlink(missing_ok=True)

        on_rank_0(remove, 'removing the best checkpoint so far')

    def _best_paths(self) -> dict[str, Any]:
        # mmengine has the one for one metric, the other for several.
        paths = {}
        if hasattr(self, 'best_ckpt_path'):
            paths['best_ckpt_path'] = self.best_ckpt_path
        if hasattr(self, 'best_ckpt_path_dict'):
            paths['best_ckpt_path_dict'] = dict(self.best_ckpt_path_dict)
        return paths

    def _is_local(self) -> bool:
        return isinstance(self.file_backend, LocalBackend)

    def _keep(self, runner: Runner, step: int) -> list[int]:
        """Count a new checkpoint; returns numbers of those to delete."""
        if self.max_keep_ckpts <= 0:
            return []
        kept = [number for number in self.keep_ckpt_ids if number != step]
        kept.append(step)
        outdated = kept[: -self.max_keep_ckpts]
        self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)
        runner.message_hub.update_info(
            'keep_ckpt_ids', list(self.keep_ckpt_ids)
        )
        return outdated

    @contextmanager
    def _atomic_saves(self, runner: Runner) -> Iterator[None]:
        """Within, the runner's checkpoints are written atomically."""
        if not self._is_local() or 'save_checkpoint' in vars(runner):
            yield  # within another
            return
        save = runner.save_checkpoint

        def atomic(out_dir: str, filename: str, *args: Any, **kw: Any) -> None:
            on_rank_0(
                lambda: write_checkpoint(
                    save, out_dir, filename, self.last_good, *args, **kw
                ),
                'writing a checkpoint',
            )

        runner.save_checkpoint = atomic
        try:
            yield
        finally:
            del runner.save_checkpoint  # the class has its own


class _KeepingBackend(LocalBackend):
    """Notes which files would be removed, and keeps them."""

    def __init__(self) -> None:
        self.outdated: list[str] = []

    def remove(self, filepath: str | Path) -> None:
        self.outdated.append(str(filepath))
