"""Where a result comes from: commit, versions, machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from _tables import machine

ROOT = Path(__file__).resolve().parents[2]
#: Names the commit of a copy that has no repository.
COMMIT = 'AHPCL_COMMIT'


def source() -> dict[str, Any]:
    """The commit that runs, and whether code or configs differ from it.

    In a copy without a repository the variable `COMMIT` names the commit;
    whether the copy differs is not known there.
    """
    commit = _git('rev-parse', 'HEAD')
    if not commit:
        return dict(commit=os.environ.get(COMMIT), changed=None)
    changed = _git('status', '--porcelain', '--', 'projects', 'configs')
    return dict(commit=commit, changed=bool(changed))


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def hardware(threads: int) -> dict[str, Any]:
    """Device, processor, threads, versions, and how the processor rounds."""
    found = machine()
    del found['command']
    return dict(
        found, device=device_here(), threads=threads, rounding=rounding()
    )


def rounding() -> str:
    """Digest of a convolution and a product on the processor.

    Processors of one name may have unlike instructions, and then round
    unlike.
    """
    numbers = torch.Generator().manual_seed(0)
    images = torch.randn(16, 16, 16, 16, generator=numbers)
    weights = torch.randn(32, 16, 3, 3, generator=numbers)
    features = torch.nn.functional.conv2d(images, weights).flatten(1)
    product = features @ features.T
    content = features.numpy().tobytes() + product.numpy().tobytes()
    return hashlib.sha256(content).hexdigest()[:8]


def device_here() -> str:
    """Name of the GPU that a run takes, or 'cpu'."""
    cuda = torch.cuda.is_available()
    return torch.cuda.get_device_name() if cuda else 'cpu'


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
