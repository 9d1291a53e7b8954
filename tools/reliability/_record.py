"""What a run did, in numbers that another must repeat bit for bit."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from ahpcl.runtime.train_state import kept_state

# Seconds and what is made of them; memory.
_CLOCK = re.compile(r'(.*/)?(\w*seconds\w*|share|(data_)?time|memory|eta)$')

Record = dict[tuple[str, int], dict[str, Any]]


def read_record(work_dir: str | os.PathLike) -> Record:
    """Losses, accuracies, decisions and metrics of all starts of a run.

    Args:
        work_dir: With one folder of logs for every start.

    Returns:
        By kind of line and step, what was logged; of a step that was logged
        twice what was logged last.
    """
    record: Record = {}
    folders = Path(work_dir).glob('*/vis_data/scalars.json')
    for path in sorted(folders, key=lambda p: p.stat().st_mtime_ns):
        for text in path.read_text('utf-8').splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:  # a kill cut it off
                continue
            kind = 'val' if any(key.startswith('knn/') for key in line) else ''
            if not kind:
                kind = 'step' if 'loss' in line else 'epoch'
            values = {k: v for k, v in line.items() if not _CLOCK.match(k)}
            step = int(line.get('step', line.get('iter', 0)))
            record.setdefault((kind, step), {}).update(values)
    return record


def differences(first: Record, second: Record) -> list[str]:
    """Where two records differ; empty if nowhere."""
    found = []
    for key in sorted(set(first) | set(second)):
        one, other = first.get(key, {}), second.get(key, {})
        found += [
            f'{key[0]} {key[1]}: {name} is {one.get(name)} and '
            f'{other.get(name)}'
            for name in sorted(set(one) | set(other))
            if one.get(name) != other.get(name)
        ]
    return found


def differing_parts(
    first: str | os.PathLike, second: str | os.PathLike
) -> list[str]:
    """Parts of two checkpoints that are not equal bit for bit.

    Weights, the optimizer's state, schedulers, and what the method keeps
    beside, such as ladder, policy and prototypes. Where the two agree in all
    that both have, the names that only one of them has stand in brackets.
    """
    one, other = (
        torch.load(path, map_location='cpu', weights_only=True)
        for path in (first, second)
    )
    names = ('state_dict', 'optimizer', 'param_schedulers')
    parts = {name: (one.get(name), other.get(name)) for name in names}
    parts['ahpcl'] = kept_state(one), kept_state(other)
    return [
        name + _names_of_one(*both)
        for name, both in parts.items()
        if not _same(*both)
    ]


def _names_of_one(one: Any, other: Any) -> str:
    """The keys that one of two dicts has, if that is all that differs."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return ''
    both = one.keys() & other.keys()
    if not all(_same(one[key], other[key]) for key in both):
        return ''
    return f' (only one has {", ".join(sorted(one.keys() ^ other.keys()))})'


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _same(one[key], other[key])
            for key in one
            if not _CLOCK.match(str(key))
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and one != one:
        return isinstance(other, float) and other != other
    return bool(one == other)
