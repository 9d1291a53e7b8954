"""Checkpoints that are whole under their name, and a pointer to a good one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .checkpoint_files import POINTER, newest_checkpoint
from .distributed import on_rank_0
from .whole_file import publish, whole_file

_PART = '.part'


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """The host's hook, whose files survive a kill and a full disk.

    The host writes a checkpoint in place, deletes the oldest one before, and
    then writes ``last_checkpoint``: a kill in between leaves a broken newest
    file, and with ``max_keep_ckpts=1`` nothing else. Here a checkpoint is
    written beside, flushed to the disk and renamed; then ``last_checkpoint``
    names it; then older ones go. If it cannot be written, training stops
    with an error that names the last good one, on all ranks.

    Args:
        *args: As in the host.
        **kwargs: As in the host. A folder that is not local is written by
            the host.
    """

    #: The newest checkpoint that is whole, as far as this run knows.
    last_good: str | None = None

    def before_train(self, runner: Runner) -> None:
        """As the host; what a killed run left half written goes."""
        super().before_train(runner)
        if getattr(runner, '_resume', False):
            known = getattr(runner, '_load_from', None)
            known = known or newest_checkpoint(runner.work_dir)
            self.last_good = None if known is None else str(known)
        if self._is_local() and is_main_process():
            for left in Path(self.out_dir).glob(f'*.pth{_PART}'):
                left.unlink(missing_ok=True)

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict
    ) -> None:
        if not self._is_local():
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        outdated = self._keep(runner, step)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir) / name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        with self._whole_saves(runner):
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
        pointer = Path(runner.work_dir) / POINTER
        on_rank_0(
            lambda: _point(pointer, self.last_ckpt, too_many),
            'pointing at the checkpoint',
        )
        self.last_good = self.last_ckpt

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        # A validation alone has no folder to save to.
        if not self.save_best or not self._is_local():
            super()._save_best_checkpoint(runner, metrics)
            return
        with self._whole_saves(runner):
            super()._save_best_checkpoint(runner, metrics)

    def _is_local(self) -> bool:
        return isinstance(self.file_backend, LocalBackend)

    def _keep(self, runner: Runner, step: int) -> list[int]:
        """Count a checkpoint in; the numbers of those that are too many."""
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
    def _whole_saves(self, runner: Runner) -> Iterator[None]:
        """Within, the runner's checkpoints are written whole."""
        if 'save_checkpoint' in vars(runner):  # the best one saves the newest
            yield
            return
        save = runner.save_checkpoint

        def whole(out_dir: str, filename: str, *args: Any, **kw: Any) -> None:
            on_rank_0(
                lambda: _write(
                    save, out_dir, filename, self.last_good, *args, **kw
                ),
                'writing a checkpoint',
            )

        runner.save_checkpoint = whole
        try:
            yield
        finally:
            del runner.save_checkpoint  # the class has its own


def _write(
    save: Callable[..., None],
    out_dir: str,
    filename: str,
    good: str | None,
    *args: Any,
    **kw: Any,
) -> None:
    """Write beside, flush, rename.

    Raises:
        RuntimeError: If it cannot be written; names the last good one.
    """
    folder = Path(out_dir)
    part = folder / f'{filename}{_PART}'
    try:
        if not folder.is_dir():
            raise FileNotFoundError(f'the folder {folder} is gone')
        save(out_dir, part.name, *args, **kw)
        publish(part, folder / filename)
    except OSError as error:
        raise cannot_write(folder / filename, error, good) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _point(pointer: Path, last: str, outdated: list[Path]) -> None:
    """Name the newest checkpoint, then let the oldest ones go.

    Raises:
        RuntimeError: If that cannot be written; names the newest one.
    """
    try:
        with whole_file(pointer) as beside:
            beside.write_text(last, 'utf-8')
        for path in outdated:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(pointer, error, last) from error


def cannot_write(
    path: str | Path, error: OSError, good: str | None
) -> RuntimeError:
    """The error of a run that cannot write; names the last good checkpoint.

    Args:
        path: That could not be written.
        error: Why.
        good: The checkpoint; None without one.
    """
    rescue = 'no checkpoint was written before'
    if good is not None:
        rescue = f'the last good checkpoint is {good}'
    return RuntimeError(
        f'expected to write {path}, got {error}; {rescue}. Make room or mend '
        'the folder, then go on with --resume'
    )
