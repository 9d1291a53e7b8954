"""Which ranks an error leaves without an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size
from torch.distributed import distributed_c10d

_KEY = 'ahpcl/failed'
_LOOK = 0.1  # seconds between two looks


class LostRankDetector:
    """Names the ranks for which the others waited in vain.

    When one rank is dead or slow, all others fail in the same collective call
    and each sees only that it waited. Every rank that fails signs in the
    store through which the ranks found each other; those that have not signed
    after a while are the ones to look at.

    Args:
        patience: Seconds to wait for the signs of the others.
    """

    def __init__(self, patience: float = 5.0) -> None:
        self.patience = patience

    def sign(self) -> None:
        """Say that this rank failed, or lost another."""
        if get_world_size() == 1:
            return
        self._ask(lambda: _store().set(f'{_KEY}/{get_rank()}', '1'))

    def absent(self) -> list[int] | None:
        """Ranks that have not signed, after some patience.

        Returns:
            None if the process that keeps the store is gone or frozen.
        """
        return self._ask(self._look)

    def _ask(self, work: Callable[[], Any]) -> Any:
        """What the store answers; None if it does not.

        A store of a frozen process never answers, and has no timeout.
        """
        answers: list[Any] = []

        def ask() -> None:
            with suppress(RuntimeError):  # the store's process is gone
                answers.append(work())

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(2 * self.patience + 1)
        return answers[0] if answers else None

    def _look(self) -> list[int]:
        end = time.monotonic() + self.patience
        missing = list(range(get_world_size()))
        while True:
            missing = [
                rank
                for rank in missing
                if not _store().check([f'{_KEY}/{rank}'])
            ]
            if not missing or time.monotonic() > end:
                return missing
            time.sleep(_LOOK)

    def words(self, error: Exception) -> str:
        """What to add to the message of an error; empty if it is no loss.

        Args:
            error: What ended the training on this rank, which has signed.
        """
        if get_world_size() == 1 or not is_loss(error):
            return ''
        missing = self.absent()
        if missing is None:
            return (
                '; the process that keeps the ranks together is gone or does '
                'not answer'
            )
        if not missing:
            return '; another rank failed: see its message'
        ranks = ', '.join(map(str, missing))
        return (
            f'; no sign of rank {ranks}: dead, or slower than the others by '
            'more than env_cfg.dist_cfg.timeout seconds'
        )


def is_loss(error: Exception) -> bool:
    """Whether an error says that another rank did not come."""
    # gloo's are RuntimeError, told by the place in its sources.
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and 'gloo' in str(error)
    )


def _store() -> dist.Store:
    return distributed_c10d._get_default_store()
