"""Tell the transforms of a dataset which epoch it is."""

from collections.abc import Iterable
from typing import Any

# Where wrappers keep what they wrap: datasets, pipelines, transforms.
_INSIDE = ('dataset', 'datasets', 'pipeline', 'pipelines', 'transforms')


def set_epoch(dataset: Any, epoch: int, seed: int) -> int:
    """Set epoch and seed on every transform of a dataset that takes them.

    Workers that already run see the change, see
    :class:`ahpcl.datasets.transforms.multi_view.EpochClock`.

    Looks through wrapped and joined datasets (mmengine's and torch's, also a
    data loader) and nested transforms.

    Args:
        dataset: A dataset, or a wrapper around one or more.
        epoch: Epoch, from 0.
        seed: Seed of the run.

    Returns:
        How many transforms were found.
    """
    found = 0
    visited: set[int] = set()
    waiting: list[Any] = [(dataset, False)]
    while waiting:
        thing, is_transform = waiting.pop()
        if thing is None or id(thing) in visited:
            continue
        visited.add(id(thing))
        if isinstance(thing, list | tuple):
            waiting += [(part, is_transform) for part in thing]
            continue
        if is_transform and hasattr(thing, 'set_epoch'):
            thing.set_epoch(epoch, seed)
            found += 1
        for name in _INSIDE:
            part = (
                vars(thing).get(name) if hasattr(thing, '__dict__') else None
            )
            if part is None:
                continue
            inner = is_transform or name in ('pipeline', 'pipelines')
            if isinstance(part, Iterable) or hasattr(part, '__dict__'):
                waiting.append((part, inner))
    return found
