"""Finds what a log has to plot: periods of rungs, scalars by unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .run_log import EpochRow, RunLog

_OBJECTIVE = r'estep/k(\d+)/objective'
_AGREEMENT = r'estep/k(\d+)/agreement'


class Stay(NamedTuple):
    """Epochs in which the same rungs were in use.

    Args:
        start: Epochs done when it began.
        end: Epochs done when it ended.
        rungs: Rungs in use in the order of the ladder, the newest last.
    """

    start: int
    end: int
    rungs: tuple[int, ...]


@dataclass(frozen=True)
class Panel:
    """A plot of one unit.

    Args:
        title: What is shown.
        unit: Unit of the values.
        names: Names of the scalars, with their labels as keys.
    """

    title: str
    unit: str
    names: dict[str, str]

    @property
    def by_rung(self) -> bool:
        """Whether the labels are numbers of clusters."""
        return all(label.isdigit() for label in self.names)


def stays(rows: Sequence[EpochRow]) -> list[Stay]:
    """Find when which rungs were in use; an advance is between two stays.

    An advance of a ladder that has ended changes nothing and is none.

    Args:
        rows: One row for every epoch; those of the warm-up have no rungs.
    """
    found: list[Stay] = []
    for row in rows:
        rungs = row.rungs
        if not rungs:
            continue
        last = found[-1].rungs if found else ()
        # Without an E-step of its own an epoch may know its newest only.
        same = last == rungs or (len(rungs) == 1 and last[-1:] == rungs)
        if same:
            found[-1] = found[-1]._replace(end=row.epoch)
        else:
            found.append(Stay(row.epoch - 1, row.epoch, rungs))
    return found


def last_epoch(log: RunLog) -> float:
    """Return where the plots end."""
    ends = [float(row.epoch) for row in log.epochs]
    for found in ('loss', 'acc_inst'):
        ends += [epoch for epoch, _ in log.series(found)[-1:]]
    for name in log.by_epoch:
        ends += [epoch for epoch, _ in log.series(name)[-1:]]
    return max(ends, default=1.0)


def panels(log: RunLog) -> list[Panel]:
    """List the plots that can be drawn of what the run logged."""
    names = [name for name, found in log.scalars.items() if found]
    means = {
        name.removeprefix('epoch/'): name
        for name in _of(names, 'epoch/acc_inst', 'epoch/acc_proto')
    }
    found = [
        Panel('loss', 'nats', _of(names, 'loss', 'loss_inst', 'loss_proto')),
        Panel('top-1, means of epochs', '%', means)
        if means
        else Panel('top-1', '%', _of(names, 'acc_inst', 'acc_proto')),
        Panel('acc_proto by K', '%', _by_rung(names, r'acc_proto_k(\d+)')),
    ]
    validation = [name for name in names if name in log.by_epoch]
    large = [n for n in validation if max(v for _, v in log.scalars[n]) > 1.5]
    small = [name for name in validation if name not in large]
    found += [
        Panel('validation', '%', _of(large, *large)),
        Panel('validation', 'share', _of(small, *small)),
        Panel('E-step: objective by K', '', _by_rung(names, _OBJECTIVE)),
        Panel('agreement of E-steps', 'AMI', _by_rung(names, _AGREEMENT)),
        Panel(
            'time of the E-step',
            '% of the epoch',
            _of(names, 'estep/share'),
        ),
        Panel('threshold of the policy', '', _of(names, 'policy/threshold')),
        Panel('learning rate', '', _of(names, 'lr')),
    ]
    return [panel for panel in found if panel.names]


def _of(names: Sequence[str], *wanted: str) -> dict[str, str]:
    return {name: name for name in wanted if name in names}


def _by_rung(names: Sequence[str], pattern: str) -> dict[str, str]:
    """Return names by their K, the largest first."""
    found = [(re.fullmatch(pattern, name), name) for name in names]
    pairs = sorted(
        ((int(match[1]), name) for match, name in found if match),
        reverse=True,
    )
    return {str(rung): name for rung, name in pairs}
