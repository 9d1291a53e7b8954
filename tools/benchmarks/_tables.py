"""Tables in Markdown and as JSON, with the machine that they come from."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

MIB = 2**20


def markdown(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, tuple[str, str]]
) -> str:
    """A table in Markdown.

    Args:
        rows: One mapping per line.
        columns: Key of a row -> (heading, format of a number); what is None
            or absent is shown as a dash.
    """
    lines = [
        '| ' + ' | '.join(heading for heading, _ in columns.values()) + ' |',
        '|' + '---|' * len(columns),
    ]
    for row in rows:
        cells = []
        for key, (_, form) in columns.items():
            value = row.get(key)
            text = isinstance(value, str)
            cells.append(
                '-' if value is None else value if text else f'{value:{form}}'
            )
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def machine() -> dict[str, Any]:
    """Names of what a measurement depends on."""
    return dict(
        cpu=_cpu_name(),
        cpu_cores=os.cpu_count(),
        python=platform.python_version(),
        torch=version('torch'),
        mmselfsup=version('mmselfsup'),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a report, making its folder."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, indent=1) + '\n')


def method_name(config: str | Path) -> str:
    """The method of a config: ``mocov2`` of ``mocov2_tin100_cpu.py``."""
    return Path(config).stem.split('_', 1)[0]


def _cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()
