"""Which checkpoint files there are, and which of them is good."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader

from ahpcl.compat.checkpoint_defects import defect_of
from ahpcl.compat.checkpoints import PickledCheckpointError

POINTER = 'last_checkpoint'
_NUMBERED = re.compile(r'(?:epoch|iter)_(\d+)(?:_batch_(\d+))?\.pth')


def read_checkpoint(path: str | os.PathLike) -> Any:
    """Read a checkpoint onto the CPU, running nothing that it carries.

    Args:
        path: A file, or an address that mmengine reads.

    Returns:
        What the file holds.

    Raises:
        ValueError: If there is no such file, it is damaged, or needs Python
            objects (the cause is then a ``PickledCheckpointError``).
    """
    name = str(path)
    if '://' not in name and not os.path.isfile(os.path.expanduser(name)):
        raise ValueError(
            f'expected a checkpoint, got {name}, which does not exist'
        )
    try:
        return CheckpointLoader.load_checkpoint(name, 'cpu', logger='silent')
    except PickledCheckpointError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # whatever a damaged file makes torch say
        said = str(error).partition('\n')[0]
        raise ValueError(
            f'expected a checkpoint that can be read, got {name}: '
            f'{type(error).__name__}: {said}'
        ) from error


def newest_checkpoint(work_dir: str | os.PathLike) -> Path | None:
    """The checkpoint of a work folder that was written last.

    It is the one that ``last_checkpoint`` names; in a folder that was moved,
    the file of that name in it; else that of the highest epoch or iteration.

    Returns:
        Its path, though the file may be broken; None if there is none.
    """
    return next(_candidates(Path(work_dir)), None)


def good_checkpoint(work_dir: str | os.PathLike) -> Path | None:
    """The newest complete checkpoint of a work folder.

    A broken one is named in the log, and the one before it is looked at.

    Returns:
        Its path; None if there is no checkpoint.

    Raises:
        ValueError: If there are some and all are broken.
    """
    broken = []
    for path in _candidates(Path(work_dir)):
        defect = defect_of(path)
        if defect is None:
            if broken:
                print_log(
                    f'{"; ".join(broken)}; going on from {path}',
                    logger='current',
                    level=logging.WARNING,
                )
            return path
        broken.append(f'{path} {defect}')
    if broken:
        raise ValueError(
            f'expected a complete checkpoint in {work_dir}, got '
            f'{"; ".join(broken)}; name another (--resume FILE of train.py, '
            '--checkpoint FILE of other tools), or move these away to start '
            'again'
        )
    return None


def within_epoch(epoch: int, batches: int) -> str:
    """Name of a checkpoint within an epoch.

    Args:
        epoch: Epochs that are finished.
        batches: Batches of the next epoch that are done.
    """
    return f'epoch_{epoch}_batch_{batches}.pth'


def checkpoints_within(folder: str | os.PathLike) -> list[Path]:
    """The checkpoints within epochs, newest first."""
    return [
        path for _, path in _numbered(Path(folder)) if '_batch_' in path.name
    ]


def age_of(path: Path) -> tuple[int, int] | None:
    """Epoch (or iteration) and batch of a checkpoint, by its name."""
    match = _NUMBERED.fullmatch(path.name)
    return None if match is None else (int(match[1]), int(match[2] or 0))


def _numbered(folder: Path) -> list[tuple[tuple[int, int], Path]]:
    """Checkpoints with numbers in their names, newest first."""
    found = [(age_of(path), path) for path in folder.glob('*.pth')]
    return sorted(
        ((age, path) for age, path in found if age is not None), reverse=True
    )


def _candidates(folder: Path) -> Iterator[Path]:
    """Newest first: what the pointer names, then those before it."""
    first = _pointed(folder)
    number = None
    if first is not None:
        yield first
        number = age_of(first)
    found = _numbered(folder)
    # Checkpoints may have a folder of their own (``out_dir``).
    other = Path(_named(folder)).parent
    if other.is_absolute() and other.resolve() != folder.resolve():
        found = sorted([*found, *_numbered(other)], reverse=True)
    for age, path in found:
        if path != first and (number is None or age <= number):
            yield path


def _named(folder: Path) -> str:
    pointer = folder / POINTER
    if not pointer.is_file():
        return ''
    return pointer.read_text('utf-8', 'replace').strip()


def _pointed(folder: Path) -> Path | None:
    named = _named(folder)
    # Paths of another system too.
    name = re.split(r'[/\\]', named)[-1]
    for candidate in (folder / name, Path(named)):
        if name and candidate.is_file():
            return candidate
    return None
