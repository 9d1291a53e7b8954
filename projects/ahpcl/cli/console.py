"""What the commands say."""

from __future__ import annotations

import os


def say(text: str) -> None:
    """Print a line, once however many processes run."""
    rank = os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0'))
    if rank == '0':
        print(text, flush=True)
