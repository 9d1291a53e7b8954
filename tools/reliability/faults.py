#!/usr/bin/env python
"""Break a small training in every way that we know; see what it leaves.

  python tools/reliability/faults.py

A worker of the loader is killed, a weight becomes NaN, the clustering or the
validation raises, files cannot be written beyond 64 KiB, a rank dies, a rank
does not come, and one is late by a third of the time that is set. Each run
must say what happened, end with an exit code that is not 0 and within the
time that is set for ranks to wait (30 s here), and leave a good checkpoint,
from which --resume must end as the run that was not disturbed did: losses,
accuracies, decisions, metrics, weights and prototypes, bit for bit (on a
CPU). With restarts by torchrun, and with a rank that is late, the job must
get there by itself.

Prints a table; exit code 1 if anything is not so.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import _paths  # noqa: F401  # isort: skip
from _record import differences, differing_parts, read_record
from _small_run import descendants, kill_all, start, write_config

from ahpcl.runtime.checkpoint_files import good_checkpoint

TIMEOUT = 300  # seconds without an end: a hang
EPOCHS = 4
STEP = 30  # of 48: within an epoch


@dataclass(frozen=True)
class Fault:
    """What is broken.

    Attributes:
        kind: As :class:`FaultHook` knows it.
        ranks: Processes.
        rank: On which it happens.
        said: What the output must have.
        restarts: By torchrun.
        borne: Whether the job must get to its end by itself.
    """

    kind: str
    ranks: int
    rank: int
    said: str
    restarts: int = 0
    borne: bool = False


FAULTS = (
    Fault('loader', 1, 0, 'DataLoader worker'),
    Fault('nan', 1, 0, 'expected finite numbers'),
    Fault('clustering', 1, 0, 'the clustering is out of order'),
    Fault('clustering', 2, 0, 'the clustering is out of order'),
    Fault('loader', 2, 1, 'DataLoader worker'),
    Fault('nan', 2, 1, 'expected finite numbers'),
    Fault('dead', 2, 1, 'Signal 9'),
    Fault('slow', 2, 1, 'no sign of rank 1'),
    Fault('dead', 2, 1, 'exitcode: -9', restarts=1, borne=True),
    Fault('late', 2, 1, '', borne=True),
    Fault('validation', 1, 0, 'the validation is out of order'),
    Fault('disk', 1, 0, 'the last good checkpoint'),
)


def broken(fault: Fault, folder: Path) -> tuple[str, list[str]]:
    """Run with a fault, and go on.

    Returns:
        A row of the table, and what was not as it must be.
    """
    config = write_config(folder, fault.ranks, EPOCHS, Path(__file__).name)
    whole, work_dir = folder / 'undisturbed', folder / 'run'
    wrong = []
    if start(config, whole, fault.ranks).wait() != 0:
        return '', [f'{fault}: the undisturbed run failed']
    output = folder / 'output.txt'
    output.write_text('')
    begun = time.monotonic()
    process = start(
        config,
        work_dir,
        fault.ranks,
        environment={'AHPCL_FAULT': f'{fault.kind}:{STEP}:{fault.rank}'},
        restarts=fault.restarts,
    )
    code, seconds = ended(process, folder / 'fault', begun)
    said = output.read_text('utf-8', 'replace')
    if code is None:
        wrong.append(f'no end within {TIMEOUT} s')
    elif (code == 0) != fault.borne:
        wrong.append(f'exit code {code}')
    if fault.said not in said:
        last = ''.join(said.splitlines(keepends=True)[-3:])
        wrong.append(f'{fault.said!r} was not said, but: {last}')
    saved = good_checkpoint(work_dir)
    if not fault.borne:
        # The fault came already, and does not come again.
        again = start(config, work_dir, fault.ranks)
        if again.wait() != 0:
            wrong.append('it did not go on')
    last = good_checkpoint(work_dir)
    wrong += differences(read_record(whole), read_record(work_dir))
    wrong += differing_parts(good_checkpoint(whole), last)
    ends = 'by itself' if fault.borne else f'from {saved.name}'
    row = (
        f'| {fault.kind}, rank {fault.rank} of {fault.ranks} | {code} | '
        f'{seconds:.0f} s | {ends} | {"equal" if not wrong else "**not**"} |'
    )
    return row, [f'{fault}: {text}' for text in wrong]


def ended(
    process: subprocess.Popen[bytes], marker: Path, begun: float
) -> tuple[int | None, float]:
    """Wait for the end of all processes.

    Returns:
        Exit code, None after a hang; seconds since the fault.
    """
    since = None
    members: set[int] = set()
    while time.monotonic() - begun < TIMEOUT:
        members |= set(descendants(process.pid))
        if since is None and marker.exists():
            since = time.monotonic()
        gone = not any(Path(f'/proc/{pid}/exe').exists() for pid in members)
        if process.poll() is not None and gone:
            return process.returncode, time.monotonic() - (since or begun)
        time.sleep(0.1)
    kill_all(process)
    return None, time.monotonic() - (since or begun)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all faults.

    Returns:
        Exit status: 1 if one was not borne as it must be.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--folder', help='kept; a temporary one if not given')
    parser.add_argument(
        '--only', nargs='+', type=int, help='numbers of faults, from 0'
    )
    args = parser.parse_args(argv)
    folder = Path(args.folder or tempfile.mkdtemp(prefix='faults_')).resolve()
    print('| fault | exit code | all ended after | went on | result |')
    print('|---' * 5 + '|')
    wrong = []
    for number, fault in enumerate(FAULTS):
        if args.only is None or number in args.only:
            row, found = broken(fault, folder / str(number))
            print(row, flush=True)
            wrong += found
    for text in wrong[:30]:
        print(f'  {text}')
    return int(bool(wrong))


if __name__ == '__main__':
    sys.exit(main())
