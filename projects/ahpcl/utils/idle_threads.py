"""How OpenMP's idle threads wait: asked before torch is loaded."""

from __future__ import annotations

import os
from pathlib import Path

_LOAD = Path('/proc/loadavg')


def let_idle_threads_sleep() -> None:
    """Let OpenMP's idle threads sleep where other programs are at work.

    By itself such a thread waits for a moment in a busy loop. That makes the
    small steps of a training on two cores about twice as fast, and twice as
    slow where another program wants one of the cores. A value of
    `OMP_WAIT_POLICY` that is set already is kept.
    """
    if others_at_work():
        os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')


def others_at_work(load: Path = _LOAD) -> bool:
    """Tell whether another thread than this one runs now; if unknown, yes.

    Args:
        load: The fourth field of this file is threads that run, a slash, and
            all threads.
    """
    try:
        running = load.read_text().split()[3].split('/')[0]
        return int(running) > 1
    except (OSError, IndexError, ValueError):
        return True
