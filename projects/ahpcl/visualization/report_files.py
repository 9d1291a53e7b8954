"""Which config and checkpoint of a work folder a report is of."""

from __future__ import annotations

import os
from pathlib import Path

from ahpcl.runtime.checkpoint_files import good_checkpoint


def find_config(work_dir: str | os.PathLike) -> Path:
    """Return the newest config of a work folder.

    Raises:
        ValueError: If there is no such folder, or no config in it.
    """
    folder = _folder(work_dir)
    found = sorted(folder.glob('*.py'), key=lambda p: (p.stat().st_mtime, p))
    if not found:
        raise ValueError(
            f'expected a config (*.py) in {folder}, got none; name it with '
            '--config'
        )
    return found[-1]


def find_checkpoint(work_dir: str | os.PathLike) -> Path:
    """Return the checkpoint of a work folder that was written last, undamaged.

    The one that ``last_checkpoint`` names; in a folder that was moved, the
    file of that name in it; else that of the highest epoch.

    Raises:
        ValueError: If there is no such folder, no checkpoint in it, or only
            broken ones.
    """
    folder = _folder(work_dir)
    found = good_checkpoint(folder)
    if found is None:
        raise ValueError(
            f'expected a checkpoint (epoch_*.pth) in {folder}, got none; '
            'name it with --checkpoint'
        )
    return found


def _folder(work_dir: str | os.PathLike) -> Path:
    folder = Path(work_dir)
    if not folder.is_dir():
        raise ValueError(
            f'expected the work folder of a run, got {folder}, which is none'
        )
    return folder
