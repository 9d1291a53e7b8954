"""Tables in Markdown and as JSON, with the machine that they come from."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ahpcl.utils.atomic_write import atomic_write

MIB = 2**20
_LIBRARIES = (
    *('faiss-cpu', 'superkmeans', 'kornia', 'flash-kmeans', 'triton'),
    'lightly',
)
_BLOCK = re.compile(
    r'(<!-- begin (?P<name>[\w/]+) -->\n).*?(<!-- end (?P=name) -->)', re.S
)


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


def blocks(page: str) -> list[str]:
    """Names of the blocks of a page, see `fill`."""
    return [found['name'] for found in _BLOCK.finditer(page)]


def fill(page: str, render: Callable[[str], str]) -> str:
    """The page with every block rendered again.

    Args:
        page: Text with blocks, each between the lines
            ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.
        render: From the name of a block to its text.
    """

    def rendered(found: re.Match[str]) -> str:
        return f'{found[1]}\n{render(found["name"])}\n{found[3]}'

    return _BLOCK.sub(rendered, page)


def machine(device: torch.device | None = None) -> dict[str, Any]:
    """Names of what a measurement depends on.

    Args:
        device: Where it is made, to be named as well, with the libraries
            that may do the work.
    """
    named: dict[str, Any] = {}
    if device is not None:
        cuda = device.type == 'cuda'
        named['device'] = (
            torch.cuda.get_device_name(device) if cuda else _cpu_name()
        )
        named['libraries'] = {
            name: found for name in _LIBRARIES if (found := _version(name))
        }
        if cuda:
            named['libraries']['CUDA'] = torch.version.cuda
    return dict(
        named,
        cpu=_cpu_name(),
        cpu_cores=os.cpu_count(),
        python=platform.python_version(),
        torch=version('torch'),
        mmselfsup=version('mmselfsup'),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a report atomically, making its folder."""
    with atomic_write(path) as beside:
        beside.write_text(json.dumps(content, indent=1) + '\n')


def method_name(config: str | Path) -> str:
    """The method of a config: ``mocov2`` of ``mocov2_tin100_cpu.py``."""
    return Path(config).stem.split('_', 1)[0]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()
