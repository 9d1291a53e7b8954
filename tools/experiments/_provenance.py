"""Where a result comes from: commit, versions, machine."""

from __future__ import annotations

import subprocess
from datetime import datetime, timezone
from typing import Any

import torch
from _plan import ROOT
from _tables import machine


def source() -> dict[str, Any]:
    """The commit that runs, and whether code or configs differ from it."""
    changed = _git('status', '--porcelain', '--', 'projects', 'configs')
    return dict(
        commit=_git('rev-parse', 'HEAD') or None,
        changed=bool(changed),
    )


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def hardware(threads: int) -> dict[str, Any]:
    """Device, processor, threads and versions."""
    found = machine()
    del found['command']
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else 'cpu'
    return dict(found, device=device, threads=threads)


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ['git', *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ''
    return done.stdout.strip()
