"""A part of a long check: a process with a budget, and its JSON.

`run_part` starts a program, ends it with all that it started when its budget
of seconds is over, and writes how it ended into the JSON that the program has
kept with `Record` until then. So a part that fails, hangs or breaks its CUDA
context costs its own rows only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from _provenance import source
from _tables import machine, write_json

#: How a part ended.
OK, FAILED, OVERRUN, RUNNING = 'ok', 'failed', 'overrun', 'running'
_TAIL = 3000


class Record:
    """The JSON of a part, written again whenever a row is known.

    Args:
        path: Of the file.
        device: Where the part measures.
        settings: What it was asked for.

    Attributes:
        content: What the file holds.
    """

    def __init__(
        self, path: Path, device: torch.device, settings: dict[str, Any]
    ) -> None:
        self.path = path
        here = machine(device)
        del here['command']  # that of the whole check counts
        self.content: dict[str, Any] = dict(
            status=RUNNING,
            machine=here,
            source=source(),
            settings=settings,
            problems=[],
            rows=[],
        )
        self.write()

    @contextmanager
    def row(self, name: str, **known: Any) -> Iterator[dict[str, Any]]:
        """Measure a row; what it raises is kept in it, and is a problem.

        Args:
            name: Of the row.
            **known: What else it begins with.

        Yields:
            The row, to be filled.
        """
        row: dict[str, Any] = dict(name=name, **known)
        begin = time.perf_counter()
        try:
            yield row
        except Exception as error:
            traceback.print_exc()
            row['error'] = f'{type(error).__name__}: {error}'[:_TAIL]
            self.content['problems'].append(f'{name}: {row["error"]}')
        row.setdefault('took', time.perf_counter() - begin)
        self.content['rows'].append(row)
        self.write()
        print(json.dumps(row), flush=True)

    def write(self) -> None:
        """Write the file as it is now."""
        write_json(self.path, self.content)


def parse_part(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line of a part, which `gpu_check.py` writes.

    Returns:
        ``json`` (a path), ``small``, ``data`` (a folder or None), and
        ``device``: the first CUDA device, or the CPU where there is none.
    """
    parser = argparse.ArgumentParser(
        description='A part of gpu_check.py, which starts it.'
    )
    parser.add_argument('--json', type=Path, required=True)
    parser.add_argument('--small', action='store_true')
    parser.add_argument('--data')
    args = parser.parse_args(argv)
    cuda = torch.cuda.is_available()
    args.device = torch.device('cuda', 0) if cuda else torch.device('cpu')
    return args


def run_part(
    command: Sequence[str], path: Path, budget: float
) -> dict[str, Any]:
    """Run a part and finish its JSON.

    Args:
        command: Python file and arguments of the part.
        path: Where it keeps its `Record`.
        budget: Seconds until it is killed.

    Returns:
        What the file holds: the record with ``status`` (`OK`, `FAILED` or
        `OVERRUN`), ``budget`` and ``seconds``, and, where the process itself
        failed, ``error``, the end of what it said.
    """
    path.unlink(missing_ok=True)
    begin = time.monotonic()
    with tempfile.TemporaryFile('w+', errors='replace') as errors:
        # A session of its own, so that its loader workers end with it.
        process = subprocess.Popen(
            [sys.executable, *command],
            stderr=errors,
            start_new_session=True,
        )
        code: int | None = None
        try:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(budget)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        errors.seek(0)
        said = errors.read()
    if path.is_file():
        content = json.loads(path.read_text())
    else:  # it did not come so far
        content = dict(source=source(), problems=[], rows=[])
    status = OK
    if code is None:
        status = OVERRUN
    elif code or content['problems']:
        status = FAILED
    if code:
        content['error'] = said[-_TAIL:]
    content |= dict(
        status=status, budget=budget, seconds=time.monotonic() - begin
    )
    write_json(path, content)
    return content
