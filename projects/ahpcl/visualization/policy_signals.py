"""What a policy was shown in a run, read from its log."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from .run_log import RunLog

_COLUMNS = ('epoch', 'acc_inst', 'acc_proto')


@dataclass(frozen=True)
class Signals:
    """What was logged of an epoch.

    Args:
        epoch: Number of the epoch, from 1.
        acc_inst: Instance accuracy, percent.
        acc_proto: Prototype accuracy, percent.
        agreement: Agreement of successive E-steps, or None.
        action: Action that was logged, or None.
    """

    epoch: int
    acc_inst: float
    acc_proto: float
    agreement: float | None = None
    action: str | None = None


def read_signals(path: str | os.PathLike) -> list[Signals]:
    """Read the epochs that have prototypes.

    Args:
        path: A work folder, a ``scalars.json``, or a CSV with the columns
            ``epoch`` (from 1), ``acc_inst``, ``acc_proto`` and perhaps
            ``agreement``. Without a value of ``acc_proto`` a line is an
            epoch of the warm-up, and left out.

    Returns:
        One for each, in order of the epochs.

    Raises:
        ValueError: If there are none, an epoch occurs twice, or a line is
            not of numbers.
    """
    if Path(path).suffix == '.csv':
        signals = _read_csv(Path(path))
    else:
        signals = [
            Signals(
                row.epoch,
                row.signal('acc_inst'),
                row.signal('acc_proto'),
                row.values.get('policy/agreement'),
                row.action,
            )
            for row in RunLog(path).epochs
            if 'epoch/acc_proto' in row.values
        ]
    if not signals:
        raise ValueError(
            f'expected epochs with acc_proto in {path}, got none: the run is '
            'of another method or ended in the warm-up'
        )
    return signals


def _read_csv(path: Path) -> list[Signals]:
    if not path.is_file():
        raise ValueError(f'expected a log, got {path}, which does not exist')
    with path.open(newline='', encoding='utf-8-sig') as file:
        reader = csv.DictReader(file)
        missing = set(_COLUMNS) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(
                f'expected the columns {", ".join(_COLUMNS)} in {path}, '
                f'got none named {", ".join(sorted(missing))}'
            )
        signals: dict[int, Signals] = {}
        for row in reader:
            if row['acc_proto'] == '':
                continue
            try:
                agreement = row.get('agreement') or None
                found = Signals(
                    int(row['epoch']),
                    float(row['acc_inst']),
                    float(row['acc_proto']),
                    None if agreement is None else float(agreement),
                )
            except (TypeError, ValueError):
                raise ValueError(
                    f'expected numbers in line {reader.line_num} of {path}, '
                    f'got {row}'
                ) from None
            if found.epoch in signals:
                raise ValueError(
                    f'expected every epoch once in {path}, got epoch '
                    f'{found.epoch} again in line {reader.line_num}'
                )
            signals[found.epoch] = found
    return [signals[epoch] for epoch in sorted(signals)]
