#!/usr/bin/env python
"""Kill a training again and again; it must end as if nobody had.

  python tools/reliability/kill_campaign.py --kills 20
  python tools/reliability/kill_campaign.py --kills 20 --ranks 2

A small run on the digits is trained once undisturbed. Then it is trained
again, and all its processes get SIGKILL at a random moment, are started with
--resume, and so on: within the E-step (extraction, clustering), the policy's
step, the writing of a checkpoint and of the pointer to it, validation, a step
of the optimizer, and at any time. When a run reaches its end although, its
weights, optimizer, ladder, policy and prototypes, and the losses,
accuracies, decisions and metrics of every step must be those of the
undisturbed run, bit for bit (on a CPU), and the next one begins. After every
kill what was logged is compared as well, as far as the run came.

Prints a table; exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import _paths  # noqa: F401  # isort: skip
from _record import differences, differing_parts, read_record
from _small_run import kill_all, start, write_config

from ahpcl.runtime.checkpoint_files import good_checkpoint

MOMENTS = (
    *('extraction', 'any', 'clustering', 'checkpoint', 'step', 'policy'),
    *('validation', 'any', 'pointer', 'checkpoint'),
)
TIMEOUT = 600  # seconds without an end: a hang


@dataclass
class Kill:
    """One kill.

    Attributes:
        moment: At which it came.
        delay: Seconds after the moment began.
        run: Number of the run.
        before: Newest good checkpoint when it came.
        outcome: What the run did after it, until the next kill or its end.
    """

    moment: str
    delay: float
    run: int
    before: str
    outcome: str = 'not gone on'


class Campaign:
    """Runs that are killed.

    Args:
        folder: For all runs.
        ranks: Processes of a run.
        epochs: Of a run.
        seed: Of the moments.
    """

    def __init__(
        self, folder: Path, ranks: int, epochs: int, seed: int
    ) -> None:
        self.folder = folder
        self.ranks = ranks
        self.random = random.Random(seed)
        self.config = write_config(folder, ranks, epochs, Path(__file__).name)
        self.moments = folder / 'moments.txt'
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.kills: list[Kill] = []
        self.failures: list[str] = []
        self.reference = folder / 'undisturbed'

    def run_undisturbed(self) -> None:
        """Train once, and measure how long every moment takes.

        Raises:
            RuntimeError: If that fails, or takes more than TIMEOUT.
        """
        process = start(self.config, self.reference, self.ranks)
        if self._wait(process, time.monotonic()) != 0:
            raise RuntimeError(
                f'the undisturbed run failed: {self.folder / "output.txt"}'
            )
        for line in self.moments.read_text('utf-8').splitlines():
            word, name, *seconds = line.split()
            if word == 'end':
                self.seconds[name].append(float(seconds[0]))

    def run_killed(self, number: int, kills: int) -> None:
        """Train a run to its end, with up to so many kills."""
        work_dir = self.folder / f'run_{number}'
        while True:
            moment = None
            if len(self.kills) < kills:
                moment = MOMENTS[len(self.kills) % len(MOMENTS)]
            last = self._last_kill(number)
            code = self._start_and_kill(number, work_dir, moment)
            if last is not None:
                last.outcome = self._outcome(work_dir, code)
                print(f'{last.moment}: {last.outcome}', flush=True)
            if code is None:
                continue
            if code != 0:
                self.failures.append(
                    f'run {number} ended with exit code {code}: see '
                    f'{self.folder / "output.txt"}'
                )
            break
        self._compare(number, work_dir)

    def _last_kill(self, number: int) -> Kill | None:
        kills = [kill for kill in self.kills if kill.run == number]
        return kills[-1] if kills else None

    def _outcome(self, work_dir: Path, code: int | None) -> str:
        """What all starts of a run logged so far against the undisturbed."""
        record = read_record(work_dir)
        whole = read_record(self.reference)
        # A step may have been logged in part when the kill came.
        seen = {
            key: {name: whole.get(key, {}).get(name) for name in values}
            for key, values in record.items()
        }
        wrong = differences(seen, record)
        self.failures += [f'{work_dir.name}: {text}' for text in wrong]
        until = (
            'the next kill' if code is None else f'its end (exit code {code})'
        )
        same = 'all equal' if not wrong else f'{len(wrong)} values **differ**'
        return f'went on to {until}, {len(record)} lines: {same}'

    def _start_and_kill(
        self, number: int, work_dir: Path, moment: str | None
    ) -> int | None:
        """Start; the exit code, or None if it was killed."""
        self.moments.write_text('')
        process = start(self.config, work_dir, self.ranks)
        begun = time.monotonic()
        if moment is None:
            return self._wait(process, begun)
        name = moment
        if moment == 'any':
            name, delay = 'step', self.random.uniform(0, 4)
        else:
            longest = max(self.seconds[moment])
            delay = self.random.uniform(0, 0.9 * longest)
        wanted = self.random.choice((1, 1, 2))
        while self._begun(name) < wanted:
            if process.poll() is not None:
                return process.returncode
            if time.monotonic() - begun > TIMEOUT:
                return self._wait(process, begun)
            time.sleep(0.0005)
        time.sleep(delay)
        if process.poll() is not None:
            return process.returncode
        kill_all(process)
        found = good_checkpoint(work_dir) if work_dir.is_dir() else None
        self.kills.append(
            Kill(moment, delay, number, found.name if found else 'none')
        )
        print(self.kills[-1], flush=True)
        return None

    def _begun(self, moment: str) -> int:
        return self.moments.read_bytes().count(f'begin {moment}\n'.encode())

    def _wait(self, process: subprocess.Popen[bytes], begun: float) -> int:
        try:
            return process.wait(begun + TIMEOUT - time.monotonic())
        except subprocess.TimeoutExpired:
            kill_all(process)
            return -1

    def _compare(self, number: int, work_dir: Path) -> None:
        """Note where a run differs from the undisturbed one."""
        found = differences(read_record(self.reference), read_record(work_dir))
        found += [
            f'{part} of the last checkpoint'
            for part in differing_parts(
                good_checkpoint(self.reference), good_checkpoint(work_dir)
            )
        ]
        self.failures += [f'run {number}: {text}' for text in found]

    def table(self) -> str:
        """What was done, in Markdown."""
        head = '| kill | run | moment | after | went on from | outcome |'
        lines = [head, '|---' * 6]
        lines[1] += '|'
        for count, kill in enumerate(self.kills, 1):
            lines.append(
                f'| {count} | {kill.run} | {kill.moment} | '
                f'{1000 * kill.delay:.0f} ms | {kill.before} | '
                f'{kill.outcome} |'
            )
        return '\n'.join(lines)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--ranks', type=int, default=1)
    parser.add_argument('--epochs', type=int, default=8, help='of a run')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--folder', help='kept; a temporary one if not given')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the campaign.

    Returns:
        Exit status: 1 if a run ended unlike the undisturbed one.
    """
    args = parse_args(argv)
    if 32 % args.ranks:
        raise SystemExit(
            f'expected a number of ranks that divides 32, got {args.ranks}'
        )
    folder = Path(args.folder or tempfile.mkdtemp(prefix='kills_')).resolve()
    campaign = Campaign(folder, args.ranks, args.epochs, args.seed)
    campaign.run_undisturbed()
    runs = 0
    while runs == 0 or len(campaign.kills) < args.kills:
        campaign.run_killed(runs, args.kills)
        runs += 1
        if campaign.failures:
            break
    print(campaign.table())
    lines = len(read_record(campaign.reference))
    print(
        f'{len(campaign.kills)} kills, {runs} runs of {args.ranks} '
        f'process(es), {lines} lines of losses, accuracies, decisions and '
        f'metrics each: {len(campaign.failures)} differences'
    )
    for failure in campaign.failures[:20]:
        print(f'  {failure}')
    return int(bool(campaign.failures))


if __name__ == '__main__':
    sys.exit(main())
