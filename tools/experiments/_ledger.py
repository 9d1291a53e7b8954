"""The ledger: one JSON line for every finished run, never rewritten.

Its older lines lie in files beside it, `ledger.1.jsonl` and so on, so that
none grows without end.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from _plan import ROOT

LEDGER = ROOT / 'docs' / 'results' / 'ledger.jsonl'


def read_ledger(path: str | os.PathLike[str] = LEDGER) -> list[dict]:
    """All entries, oldest first; an unfinished last line is left out.

    Raises:
        ValueError: If another line is not JSON, with its number.
    """
    path = Path(path)
    older = sorted(
        path.parent.glob(f'{path.stem}.[0-9]*{path.suffix}'),
        key=lambda part: int(part.stem.rpartition('.')[2]),
    )
    return [entry for part in (*older, path) for entry in _entries(part)]


def _entries(path: Path) -> list[dict]:
    """Those of one file; none if it is not there."""
    if not path.is_file():
        return []
    lines = path.read_text('utf-8').split('\n')
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entries.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):  # no newline: somebody is writing it
                break
            raise ValueError(
                f'expected one JSON object per line in {path}, got something '
                f'else in line {number} ({error})'
            ) from error
    return entries


def append(
    entry: Mapping[str, Any], path: str | os.PathLike[str] = LEDGER
) -> None:
    """Add an entry; several processes may do so at once."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(entry, sort_keys=True, separators=(',', ':')) + '\n'
    with path.open('ab') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # A line that a dying machine left unfinished stays a line of its own.
        if file.tell() and _last_byte(path) != b'\n':
            file.write(b'\n')
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def newest(
    entries: list[dict], superseded: Sequence[Mapping[str, str]] = ()
) -> dict[tuple[str, str, int, str], dict]:
    """The last entry of every `Row.key`.

    Args:
        entries: Entries of the ledger.
        superseded: The plan's `superseded`: what it names does not count.
    """
    return {
        tuple(entry[part] for part in ('scale', 'digest', 'seed', 'part')): (
            entry
        )
        for entry in entries
        if not any(_is_superseded(entry, rule) for rule in superseded)
    }


def _is_superseded(entry: dict, rule: Mapping[str, str]) -> bool:
    return (
        fnmatchcase(entry['row'], rule['rows'])
        and entry.get('finished', '') < rule['before']
    )


def _last_byte(path: Path) -> bytes:
    with path.open('rb') as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
