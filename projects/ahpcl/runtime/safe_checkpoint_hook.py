"""Checkpoints that load without pickle, and resume all the same."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, print_log
from mmengine.registry import HOOKS

_PLAIN = (int, float, complex, bool, str, bytes, type(None))
_HISTORY_KEYS = {'log_history', 'count_history', 'max_length'}


def to_plain(value: Any, strangers: list[str], path: str = '') -> Any:
    """Rebuilds a value from what a safe load accepts.

    NumPy scalars become numbers, NumPy arrays tensors (of text or objects:
    lists), paths text, subclasses of dict, list and tuple those themselves.
    Tensors stay.

    Args:
        value: Any nest of containers.
        strangers: Receives ``path: type`` of each object that is none of
            these; such an object stays as it is.
        path: Where the value sits in the checkpoint.

    Returns:
        The plain value; the given object itself where it was plain.
    """
    if type(value) in _PLAIN or isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.generic):
        return to_plain(value.item(), strangers, path)
    if isinstance(value, np.ndarray):
        if value.dtype.kind in 'biufc':
            return torch.from_numpy(np.array(value))
        return to_plain(value.tolist(), strangers, path)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, dict):
        plain = {
            to_plain(key, strangers, path): to_plain(
                item, strangers, f'{path}.{key}'
            )
            for key, item in dict.items(value)
        }
        return value if _same(value, plain) else plain
    if isinstance(value, list | tuple):
        items = [
            to_plain(item, strangers, f'{path}[{index}]')
            for index, item in enumerate(value)
        ]
        kind = list if isinstance(value, list) else tuple
        same = all(a is b for a, b in zip(value, items, strict=True))
        return value if same and type(value) is kind else kind(items)
    for base in (bool, int, float, str):  # enumerations and the like
        if isinstance(value, base):
            return base(value)
    strangers.append(f'{path or "value"}: {type(value).__name__}')
    return value


def _same(value: dict, plain: dict) -> bool:
    """Whether nothing in a plain dict had to change."""
    if type(value) is not dict:
        return False
    pairs = zip(value.items(), plain.items(), strict=True)
    return all(a is c and b is d for (a, b), (c, d) in pairs)


def pack_history(buffer: HistoryBuffer) -> dict:
    """Turns a history into tensors.

    Args:
        buffer: Values and the count behind each.

    Returns:
        ``log_history`` (n,) float64 or int64, ``count_history`` (n,), or one
        number if all counts are equal, and ``max_length``.
    """
    logs, counts = buffer.data
    if len(counts) and (counts == counts[0]).all():
        packed: Any = counts[0].item()
    else:
        packed = torch.from_numpy(np.array(counts))
    return {
        'log_history': torch.from_numpy(np.array(logs)),
        'count_history': packed,
        'max_length': int(buffer.max_length),
    }


def unpack_history(packed: dict) -> HistoryBuffer:
    """Rebuilds what :func:`pack_history` packed."""
    logs = packed['log_history'].cpu().numpy()
    counts = packed['count_history']
    if isinstance(counts, torch.Tensor):
        counts = counts.cpu().numpy()
    else:
        counts = np.full(len(logs), counts)
    return HistoryBuffer(logs, counts, packed['max_length'])


@HOOKS.register_module()
class SafeCheckpointHook(Hook):
    """Writes checkpoints that ``torch.load(weights_only=True)`` accepts.

    mmengine's checkpoints hold its log histories as pickled objects, and
    NumPy scalars besides, which torch refuses by default since 2.6. On
    saving this hook, the last one to see the checkpoint, turns them into
    tensors and plain numbers; on loading it rebuilds the histories, so that
    smoothed values go on where they stopped.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Makes the checkpoint plain, in place but for live objects.

        Args:
            runner: The runner.
            checkpoint: What is about to be written.
        """
        strangers: list[str] = []
        hub = checkpoint.get('message_hub')
        if isinstance(hub, dict):
            scalars = {
                key: pack_history(buffer)
                for key, buffer in hub['log_scalars'].items()
            }
            checkpoint['message_hub'] = {**hub, 'log_scalars': scalars}
        for key, value in checkpoint.items():
            if not key.endswith('state_dict'):  # tensors, with their metadata
                checkpoint[key] = to_plain(value, strangers, key)
        new = [name for name in strangers if name not in self._warned]
        if new:
            self._warned.update(new)
            print_log(
                'the checkpoint needs pickle to load, as it holds '
                f'{"; ".join(new)}',
                logger='current',
                level=30,
            )

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Rebuilds the histories that :meth:`before_save_checkpoint` packed.

        Args:
            runner: The runner.
            checkpoint: What has been read; one that mmengine wrote stays as
                it is.
        """
        hub = checkpoint.get('message_hub')
        if not isinstance(hub, dict):
            return
        scalars = hub.get('log_scalars', {})
        for key, value in scalars.items():
            if isinstance(value, dict) and value.keys() == _HISTORY_KEYS:
                scalars[key] = unpack_history(value)
