"""What is saved and said when a training ends with an error."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.runner import Runner

from ahpcl.runtime.atomic_checkpoint_hook import AtomicCheckpointHook
from ahpcl.runtime.lost_ranks import LostRankDetector

_LOST_WORKER = ' (a DataLoader worker died while it handed over a batch)'


class FaultGuard:
    """Saves the state where an error left it intact, and says how to go on.

    A worker of the loader that dies, a clustering that fails and a validation
    that fails change nothing that is trained: the run is saved where it was.
    After an error within a step, and where other ranks wait for what one of
    them did not come to, the last checkpoint is named; and the rank that did
    not come, see :class:`LostRankDetector`.

    Args:
        runner: The runner.
        saver: The hook that writes checkpoints; None if there is none.
        place: Returns the epochs that are finished, and the batches of the
            next one that are (None where it has not begun).
    """

    def __init__(
        self,
        runner: Runner,
        saver: AtomicCheckpointHook | None,
        place: Callable[[], tuple[int, int | None]],
    ) -> None:
        self._runner = runner
        self._saver = saver
        self._place = place
        self._lost_ranks = LostRankDetector()
        # Until the state is there, or there again after a resume.
        self._changing = True

    def ready(self) -> None:
        """From here on the state is intact, outside of :meth:`changing`."""
        self._changing = False

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Within, an error leaves the state half changed."""
        self._changing = True
        yield
        self._changing = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within, an error is logged with where to go on from."""
        try:
            yield
        except Exception as error:
            self._lost_ranks.sign()
            epochs, batches = self._place()
            print_log(
                f'training ended in epoch {epochs + 1} after {batches or 0} '
                f'batches: {type(error).__name__}: {error}'
                f'{_LOST_WORKER if _is_lost_worker(error) else ""}'
                f'{self._lost_ranks.words(error)}; '
                f'{self._rescued(error, batches)}',
                logger='current',
                level=logging.ERROR,
            )
            raise

    def _rescued(self, error: Exception, batches: int | None) -> str:
        if self._saver is None:
            return 'no checkpoint: the config has no AtomicCheckpointHook'
        intact = not self._changing and get_world_size() == 1
        # Nothing can be written, or it is not worth it.
        hopeless = isinstance(error, OSError | FloatingPointError)
        if intact and (not hopeless or _is_lost_worker(error)):
            try:
                path = self._saver.save_within(self._runner, batches)
            except (OSError, RuntimeError, FloatingPointError) as another:
                print_log(str(another), logger='current', level=logging.ERROR)
            else:
                return f'saved as {path}; go on with --resume'
        if self._saver.last_good is None:
            return 'no checkpoint was written yet'
        return (
            f'the last good checkpoint is {self._saver.last_good}; go on '
            'from it with --resume'
        )


def _is_lost_worker(error: Exception) -> bool:
    """Whether a batch was lost with the worker that should hand it over.

    torch names the dead worker, except where the batch's memory is asked for
    in the moment between the worker's last breath and its exit: then the
    error of the connection is all that comes.
    """
    if not isinstance(error, ConnectionError | EOFError):
        return False
    return any(
        frame.f_globals.get('__name__') == 'torch.utils.data.dataloader'
        and frame.f_code.co_name == '_try_get_data'
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
