"""Long work of the first process, for which the others wait."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from mmengine.dist import get_rank, get_world_size
from torch import distributed

_PATIENCE = timedelta(days=2)


def on_first_rank(work: Callable[[], None], name: str) -> None:
    """Work on rank 0; a collective call.

    The others wait on the CPU in a group of their own, since the usual one
    gives up after some minutes.

    Args:
        work: What is to be done once.
        name: Of the work, for the message.

    Raises:
        RuntimeError: on the other ranks, if it failed on rank 0, which
            raises what happened.
    """
    if get_world_size() == 1:
        work()
        return
    group = distributed.new_group(backend='gloo', timeout=_PATIENCE)
    answer: list[Any] = [None]
    error: Exception | None = None
    if get_rank() == 0:
        try:
            work()
        except Exception as caught:
            # The other ranks wait below: tell them, then raise here.
            error, answer[0] = caught, repr(caught)
    distributed.broadcast_object_list(answer, src=0, group=group)
    distributed.destroy_process_group(group)
    if error is not None:
        raise error
    if answer[0] is not None:
        raise RuntimeError(f'{name} failed on rank 0: {answer[0]}')
