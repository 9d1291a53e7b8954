"""What a run logged: every scalar by name, and a row for every epoch."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

Series = list[tuple[int, float]]

_DECISION = re.compile(
    r' epoch (?P<epoch>\d+): acc_inst .*?; '
    r'(?P<action>keep|raise_threshold|advance): (?P<reason>.*); '
    r'[\d.]+ s, E-step'
)
_RUNGS = re.compile(r' at K = ([\d, ]+?);')
_OBJECTIVE = re.compile(r'estep/k(\d+)/objective')
_ACTIONS = {0: 'keep', 1: 'raise_threshold', 2: 'advance'}


@dataclass
class EpochRow:
    """What was logged at the end of an epoch.

    Args:
        epoch: Number of the epoch, from 1.
        step: Iterations done by then.
        values: Scalars ``epoch/*``, ``policy/*``, ``ladder/*`` and
            ``estep/*`` by name; those of the E-step before the epoch.
        action: Action of the policy: 'keep', 'raise_threshold', 'advance';
            None where none was asked.
        reason: Reason that it gave; empty where the text log is not there.
        rungs: Cluster counts in use, in the order of the ladder; empty in
            the warm-up. Where the text log is not there, those of the E-step
            before the epoch; without one, the newest alone.
    """

    epoch: int
    step: int
    values: dict[str, float] = field(default_factory=dict)
    action: str | None = None
    reason: str = ''
    rungs: tuple[int, ...] = ()

    def signal(self, name: str) -> float | None:
        """An accuracy as the policy saw it: a mean over epochs, if logged.

        Args:
            name: ``'acc_inst'`` or ``'acc_proto'``.
        """
        of_epoch = self.values.get(f'epoch/{name}')
        return self.values.get(f'policy/{name}', of_epoch)


class RunLog:
    """The log of a run in all its parts, if it was resumed.

    Where a part begins, what earlier parts logged of later steps is dropped.

    Args:
        path: A work folder, one of its parts, or a ``scalars.json``.

    Raises:
        ValueError: If there is no log, or nothing in it.

    Attributes:
        files: Files that were read, oldest first.
        scalars: Pairs of (iterations done, value) by name; those of the
            validation (``knn/top1``) count epochs instead, see
            :attr:`by_epoch`.
        by_epoch: Names of the scalars whose steps are epochs, from 1.
        epochs: A row for every finished epoch that was logged.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.files = _find(Path(path))
        self.scalars: dict[str, Series] = {}
        self.by_epoch: set[str] = set()
        self._epoch_ends: dict[int, int] = {}
        for file in self.files:
            self._read(file)
        if not self.scalars:
            raise ValueError(
                f'expected logged scalars in {path}, got none; the run may '
                'have ended before its first log line'
            )
        self.epochs = self._epoch_rows()

    def series(self, name: str) -> Series:
        """Return (epoch, value) pairs of a scalar; empty if not logged.

        Epochs are fractions in between, 1.0 at the end of the first.
        """
        found = self.scalars.get(name, [])
        if name in self.by_epoch:
            return [(float(step), value) for step, value in found]
        return [(self.epoch_of(step), value) for step, value in found]

    def epoch_of(self, step: int) -> float:
        """Convert iterations to epochs done, as a fraction.

        Epochs are equally long; 0 where no end of an epoch is known.
        """
        if not self._epoch_ends:
            return 0.0
        last = max(self._epoch_ends)
        return step * last / self._epoch_ends[last]

    def _read(self, file: Path) -> None:
        rows = []
        with file.open(encoding='utf-8', errors='replace') as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # a line that a stopped run left unfinished
                if isinstance(row, dict) and isinstance(row.get('step'), int):
                    rows.append(row)
        if not rows:
            return
        starts = [row['step'] for row in rows if not _of_validation(row)]
        if starts:
            self._forget_after(starts[0])
        for row in rows:
            self._add(row)

    def _forget_after(self, step: int) -> None:
        """Drop what was logged at later steps than a new part's first."""
        epochs = [e for e, end in self._epoch_ends.items() if end <= step]
        last = max(epochs, default=0)
        for name, found in self.scalars.items():
            limit = last if name in self.by_epoch else step
            self.scalars[name] = [pair for pair in found if pair[0] <= limit]
        self._epoch_ends = {e: self._epoch_ends[e] for e in epochs}

    def _add(self, row: dict) -> None:
        step = row['step']
        of_validation = _of_validation(row)
        if 'epoch' in row and 'iter' in row:
            # Its last line is the end of the epoch.
            self._epoch_ends[int(row['epoch'])] = step
        for name, value in row.items():
            if name in ('step', 'epoch', 'iter') or not isinstance(
                value, int | float
            ):
                continue
            if of_validation and name in ('time', 'data_time'):
                continue  # which training logs under the same names
            if of_validation:
                self.by_epoch.add(name)
            found = self.scalars.setdefault(name, [])
            if found and found[-1][0] == step:
                found.pop()
            found.append((step, value))

    def _epoch_rows(self) -> list[EpochRow]:
        ends = {end: epoch for epoch, end in self._epoch_ends.items()}
        rows: dict[int, EpochRow] = {}
        for step, _ in self.scalars.get('epoch/acc_inst', []):
            epoch = ends.get(step, round(self.epoch_of(step)))
            rows[epoch] = EpochRow(epoch, step)
        by_step = {row.step: row for row in rows.values()}
        starts = {0: rows.get(1)} | {
            row.step: rows.get(row.epoch + 1) for row in rows.values()
        }
        for name, found in self.scalars.items():
            before = name.startswith('estep/') and name != 'estep/share'
            if not name.startswith(('epoch/', 'policy/', 'ladder/', 'estep/')):
                continue
            for step, value in found:
                row = (starts if before else by_step).get(step)
                if row is not None:
                    row.values[name] = value
        said = self._decisions()
        for row in rows.values():
            action = row.values.get('policy/action')
            row.action = None if action is None else _ACTIONS[int(action)]
            row.rungs = rungs_in_use(row.values)
            if row.epoch in said:
                reason, rungs = said[row.epoch]
                row.reason, row.rungs = reason, rungs or row.rungs
        return [rows[epoch] for epoch in sorted(rows)]

    def _decisions(self) -> dict[int, tuple[str, tuple[int, ...]]]:
        """Return reasons and rungs from the text logs beside the scalars."""
        said = {}
        for file in self.files:
            for log in sorted(file.parent.parent.glob('*.log')):
                for line in log.read_text('utf-8', 'replace').splitlines():
                    rungs = _RUNGS.search(line)
                    decision = _DECISION.search(line)
                    if decision is None:
                        continue
                    counts = rungs[1].split(',') if rungs else ()
                    said[int(decision['epoch'])] = (
                        decision['reason'],
                        tuple(int(count) for count in counts),
                    )
        return said


def rungs_in_use(values: dict[str, float]) -> tuple[int, ...]:
    """Return the cluster counts in use, as far as the scalars tell."""
    if 'ladder/newest' not in values:
        return ()
    newest = int(values['ladder/newest'])
    found = [_OBJECTIVE.fullmatch(name) for name in values]
    counts = sorted(int(match[1]) for match in found if match)
    if counts and newest == counts[0]:
        counts.reverse()  # of a descending ladder
    return tuple(counts) or (newest,)


def _of_validation(row: dict) -> bool:
    """Tell whether a row is mmengine's line of a validation, by epochs.

    Those of training have ``iter``, ours have a slash in every name but the
    step, and so has the validation's, which logs its time besides.
    """
    return 'iter' not in row and 'time' in row


def _find(path: Path) -> list[Path]:
    """Return files of scalars, oldest first."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(
            f'expected a work folder or a scalars.json, got {path}, which '
            'does not exist'
        )
    for pattern in ('*/vis_data/scalars.json', 'vis_data/scalars.json'):
        found = sorted(path.glob(pattern))
        if found:
            return found
    if (path / 'scalars.json').is_file():
        return [path / 'scalars.json']
    raise ValueError(
        f'expected logs of a run in {path} (*/vis_data/scalars.json), got '
        "none; LocalVisBackend among the config's vis_backends writes them"
    )
