"""Signals that ask a training to stop, and what all ranks make of them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size

#: Exit code after SIGTERM or SIGUSR1: EX_TEMPFAIL, try again.
STOPPED = 75
#: Exit code after Ctrl-C.
INTERRUPTED = 130
# Seconds that a worker of a loader outlives a SIGTERM that all received: its
# batch is still wanted.
_WORKER_GRACE = 30
# SIGTERM last: who is caught listening to it (dist_train.sh) hears all.
_SIGNALS = ('SIGUSR1', 'SIGINT', 'SIGTERM')


class TrainingStopped(SystemExit):
    """Training was asked to stop, saved its state and ends.

    Args:
        code: Exit code, :data:`STOPPED` or :data:`INTERRUPTED`.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)


class StopRequest:
    """Whether somebody asked for an end, on any rank.

    SIGTERM, SIGUSR1 (which Slurm sends before the time is over) and the first
    Ctrl-C are remembered; a second Ctrl-C ends the process at once.

    Args:
        timeout: Seconds after which ranks give up on one that does not come;
            None for torch's.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self._timeout = None if timeout is None else timedelta(seconds=timeout)
        self._signal = 0
        self._pid = os.getpid()
        self._group: Any = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, the signals are remembered; a collective call.

        Only the main thread can listen; in another they do as before.
        """
        if get_world_size() > 1 and dist.get_backend() != 'gloo':
            # Asked after every step: without waiting for the device.
            self._group = dist.new_group(backend='gloo', timeout=self._timeout)
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [
            getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)
        ]
        before = {n: signal.signal(n, self._receive) for n in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                # None: of a handler that Python did not install.
                signal.signal(number, handler or signal.SIG_DFL)

    def asked(self) -> int:
        """The exit code to stop with, 0 to go on; a collective call."""
        code = 0
        if self._signal:
            ended = self._signal == signal.SIGINT
            code = INTERRUPTED if ended else STOPPED
        if get_world_size() > 1:
            codes = torch.tensor(code)
            dist.all_reduce(codes, dist.ReduceOp.MAX, group=self._group)
            code = int(codes)
        return code

    def _receive(self, number: int, _: Any) -> None:
        if os.getpid() != self._pid:
            self._receive_in_worker(number)
            return
        if number == signal.SIGINT and self._signal == signal.SIGINT:
            os._exit(INTERRUPTED)
        # Slurm's notice is followed by a SIGTERM: the same.
        self._signal = number

    def _receive_in_worker(self, number: int) -> None:
        # A terminal and Slurm signal the workers of a loader as well. They
        # end with the process that they work for.
        if number == signal.SIGTERM:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_WORKER_GRACE)
