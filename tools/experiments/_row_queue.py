"""The queue of pending rows: one process for each, and the ledger."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from _ledger import append, newest, read_ledger
from _plan import ROOT, Plan, Row, planned_file, read_config
from _provenance import device_here
from _replay import sources

from ahpcl.runtime.optim_wrapper import has_bf16_instructions

Key = tuple[str, str, int, str]
ROW_TOOL = Path(__file__).with_name('row.py')


@dataclass
class Running:
    """A row that runs.

    Attributes:
        row: The row.
        process: That runs it.
        out: File of its result.
        log: File of what it says.
        start: When it was begun.
    """

    row: Row
    process: subprocess.Popen[bytes]
    out: Path
    log: Path
    start: float


class Queue:
    """Pending rows, run one after another until the time is over.

    Args:
        plan: All rows.
        args: Arguments of the command line.
    """

    def __init__(self, plan: Plan, args: argparse.Namespace) -> None:
        self.plan = plan
        self.args = args
        self.device = device_here()
        gpu = ['gpu', 'gpu_classes']
        self.scales = args.scale or (gpu if self.device != 'cpu' else ['cpu'])
        known = {row.scale for row in plan.rows}
        if not known.issuperset(self.scales):
            raise ValueError(
                f'expected scales of {", ".join(sorted(known))}, got '
                f'{" ".join(self.scales)}'
            )
        jobs = args.jobs or _jobs(args.threads)
        on_gpu = any(scale.startswith('gpu') for scale in self.scales)
        self.jobs = 1 if on_gpu and not args.jobs else jobs
        for scale in self.scales:
            _check_data(scale, args.data_root)
        self.running: list[Running] = []
        self.failed: list[Row] = []
        self._tried: set[str] = set()

    def pending(self) -> list[Row]:
        """Rows of the scales that no line of the ledger has.

        With ``--this-device``: no line that was run on such a device. Rows
        whose code is gone are never pending.
        """
        return self._pending(self._ended())

    def _ended(self) -> dict[Key, dict]:
        return newest(read_ledger(self.args.ledger), self.plan.superseded)

    def check_plan(self) -> None:
        """Refuse pending rows whose config is not the planned one.

        Raises:
            ValueError: With their names.
        """
        rows = self.pending()
        for problem, found in (
            ('were not planned', [r for r in rows if r.planned is None]),
            (
                'have another config than when they were planned',
                [r for r in rows if r.planned not in (None, r.digest())],
            ),
        ):
            if found:
                shown = ', '.join(row.name for row in found[:5])
                option = (
                    '--plan-rows'
                    if found[0].planned is None
                    else '--replan-rows'
                )
                raise ValueError(
                    f'expected planned rows, got {len(found)} that {problem}: '
                    f'{shown}; write their digests with '
                    f'tools/experiments/run.py {option} and commit '
                    f'{planned_file(self.args.plan).name} before they run'
                )

    def check_processor(self) -> None:
        """Refuse rows in bfloat16 where there are no instructions for it.

        Raises:
            ValueError: With their scales; they would be rows in float32.
        """
        kind = 'cpu' if self.device == 'cpu' else 'cuda'
        if has_bf16_instructions(kind):
            return
        slow = {
            row.scale
            for row in self.pending()
            if row.wrapper() == 'BF16OptimWrapper'
        }
        if slow:
            others = [scale for scale in self.scales if scale not in slow]
            rest = f'--scale {" ".join(others)}' if others else 'other scales'
            raise ValueError(
                'expected a device with instructions for bfloat16 (AMX or '
                'AVX512-BF16, a CUDA device from Ampere on) for the scale '
                f'{", ".join(sorted(slow))}, got one without, which would '
                f'train in float32: run {rest} here'
            )

    def _pending(self, ended: Mapping[Key, dict]) -> list[Row]:
        done = {
            key
            for key, entry in ended.items()
            if not self.args.this_device or _device_of(entry) == self.device
        }
        found: dict[Key, Row] = {}
        for row in self.plan.rows:
            wanted = row.config not in self.plan.ended and (
                not self.args.question or row.question in self.args.question
            )
            if row.scale in self.scales and wanted and row.key not in done:
                found.setdefault(row.key, row)
        return list(found.values())

    def expected(self, row: Row, ledger: list[dict]) -> float | None:
        """Seconds that a row will take, as others did on such a device."""
        entries = [
            entry
            for entry in ledger
            if entry['scale'] == row.scale and _device_of(entry) == self.device
        ]
        alike = [e for e in entries if e['variant'] == row.variant]
        times = [_seconds_of(entry) for entry in alike or entries]
        return statistics.median(times) if times else None

    def run(self) -> None:
        """Run rows until none is left or the budget is spent."""
        self.check_plan()
        self.check_processor()
        lock = _locked(self.args.ledger)
        end = time.monotonic() + self.args.budget
        try:
            while True:
                self._collect()
                left = end - time.monotonic()
                if left <= 0:
                    break
                while len(self.running) < self.jobs and self._begin(left):
                    pass
                if not self.running:
                    break
                time.sleep(min(1.0, max(0.0, left)))
        finally:
            self._stop()
            lock.close()

    def _begin(self, left: float) -> bool:
        """Start the first row that is free and fits the time left."""
        ledger = read_ledger(self.args.ledger)
        done = newest(ledger, self.plan.superseded)
        for row in self._pending(done):
            if row.name in self._tried:
                continue
            if any(s.key not in done for s in sources(row, self.plan)):
                continue
            expected = self.expected(row, ledger)
            if expected is not None and expected > left:
                continue
            self._tried.add(row.name)
            self.running.append(self._start(row))
            return True
        return False

    def _start(self, row: Row) -> Running:
        folder = Path(self.args.work_dir) / row.name
        folder.mkdir(parents=True, exist_ok=True)
        out, log = folder / 'result.json', folder / 'log.txt'
        out.unlink(missing_ok=True)
        command = [
            *(sys.executable, str(ROW_TOOL), row.name, '--out', str(out)),
            *('--plan', self.args.plan, '--work-dir', self.args.work_dir),
            *('--ledger', self.args.ledger),
            *('--threads', str(self.args.threads)),
        ]
        if self.args.data_root:
            command += ['--data-root', self.args.data_root]
        environment = {
            **os.environ,
            'OMP_NUM_THREADS': str(self.args.threads),
        }
        with log.open('ab') as file:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the queue alone
            )
        say(f'{row.name}: begun')
        return Running(row, process, out, log, time.monotonic())

    def _collect(self) -> None:
        """Enter what has ended into the ledger."""
        for job in list(self.running):
            code = job.process.poll()
            if code is None:
                continue
            self.running.remove(job)
            took = time.monotonic() - job.start
            if code == 0 and job.out.is_file():
                entry = json.loads(job.out.read_text('utf-8'))
                append(entry, self.args.ledger)
                value = entry['metrics'].get(self.plan.primary)
                shown = '' if value is None else f'{value:.2f}, '
                say(f'{job.row.name}: {shown}{took:.0f} s')
            else:
                self.failed.append(job.row)
                say(f'{job.row.name}: failed ({code}) after {took:.0f} s')
                say(_tail(job.log))

    def _stop(self) -> None:
        """End what still runs; it goes on from its checkpoint next time."""
        self._collect()
        for job in self.running:
            say(f'{job.row.name}: stopped')
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.process.pid, signal.SIGTERM)
        for job in self.running:
            try:
                job.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(job.process.pid, signal.SIGKILL)
                job.process.wait()
        self.running.clear()


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)


def _device_of(entry: Mapping[str, Any]) -> str:
    return entry.get('hardware', {}).get('device', 'cpu')


def _jobs(threads: int) -> int:
    return max(1, (os.cpu_count() or 1) // threads)


def _seconds_of(entry: dict[str, Any]) -> float:
    budget = entry['budget']
    return budget['train_seconds'] + budget.get('evaluation_seconds', 0.0)


def _check_data(scale: str, data_root: str | None) -> None:
    """Refuse a protocol whose images are not there.

    Raises:
        ValueError: With the command that gets them.
    """
    config = read_config('ahpcl', scale)
    known = config.get('data_root')
    if known is None:  # its images come with a package
        return
    folder = Path(data_root or known)
    if not (folder if folder.is_absolute() else ROOT / folder).is_dir():
        raise ValueError(
            f'expected the images of the scale {scale!r} in {folder}, which '
            f'does not exist; {config.get_data}, or name the folder that has '
            'them with --data-root'
        )


def _locked(ledger: str) -> IO[str]:
    """The lock of a ledger, held until it is closed.

    Raises:
        ValueError: If another queue holds it.
    """
    path = Path(f'{ledger}.lock')
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open('a+')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        other = file.read().strip()
        file.close()
        raise ValueError(
            f'expected no other queue on {ledger}, got one that runs (process '
            f'{other}); wait for it or stop it, and run several rows at once '
            'with --jobs'
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _tail(log: Path, lines: int = 15) -> str:
    text = log.read_text('utf-8', errors='replace').splitlines()
    return '\n'.join(f'    {line}' for line in text[-lines:])
