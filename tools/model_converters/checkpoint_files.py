"""Reads and writes checkpoint files, without running what they carry."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

import ahpcl  # noqa: F401  (checkpoints are loaded without pickle)
from ahpcl.api.layouts import LAYOUTS
from ahpcl.compat.checkpoints import TRUST_VARIABLE, PickledCheckpointError
from ahpcl.runtime import checkpoint_files
from ahpcl.utils.atomic_write import atomic_write


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--trust-pickle``, see :func:`read_checkpoint`."""
    parser.add_argument(
        '--trust-pickle',
        action='store_true',
        help='also read files that need Python objects: this runs any code '
        'that their author put into them',
    )


def add_layout_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--from``, a key of :data:`LAYOUTS`, and ``--part``."""
    parser.add_argument(
        '--from',
        dest='layout',
        default='auto',
        choices=('auto', *LAYOUTS),
        help='layout of the checkpoint (default: told from its keys)',
    )
    parser.add_argument(
        '--part',
        metavar='KEY',
        help='the weights to take where a file holds several, such as teacher',
    )


def read_checkpoint(path: str, *, trust_pickle: bool = False) -> Any:
    """Reads a checkpoint onto the CPU.

    Args:
        path: Path of a file, or an address that mmengine reads.
        trust_pickle: Also read a file that needs Python objects. Loading it
            can run any code that its author put into it.

    Returns:
        What the file holds.

    Raises:
        ValueError: If there is no such file, it is damaged or no checkpoint,
            or it needs Python objects and is not trusted.
    """
    before = os.environ.get(TRUST_VARIABLE, '')
    os.environ[TRUST_VARIABLE] = '1' if trust_pickle else before
    try:
        return checkpoint_files.read_checkpoint(path)
    except ValueError as error:
        if isinstance(error.__cause__, PickledCheckpointError):
            raise ValueError(
                f'{error} Here --trust-pickle does the same.'
            ) from error
        raise
    finally:
        os.environ[TRUST_VARIABLE] = before


def write_checkpoint(path: str, content: dict, source: str) -> None:
    """Writes a checkpoint that ``weights_only=True`` loads.

    Args:
        path: To write to; its folder is made.
        content: Tensors and plain values.
        source: The file that it was made from, which is never overwritten.

    Raises:
        ValueError: If ``path`` is the source.
    """
    with _whole_file(path, source) as file:
        torch.save(content, file)


def write_arrays(
    path: str, arrays: dict[str, np.ndarray], source: str
) -> None:
    """Writes a compressed ``.npz`` that ``allow_pickle=False`` loads.

    Args:
        path: To write to; its folder is made.
        arrays: By name, none of objects.
        source: The file that they were made from, which is never
            overwritten.

    Raises:
        ValueError: If ``path`` is the source or does not end in ``.npz``.
    """
    if Path(path).suffix != '.npz':
        raise ValueError(f'expected a file ending in .npz, got {path}')
    assert not any(array.dtype.hasobject for array in arrays.values())
    with _whole_file(path, source) as file:
        np.savez_compressed(file, **arrays)


def run_tool(work: Callable[[], None]) -> int:
    """Runs a tool; turns what a user can get wrong into one line.

    Args:
        work: The tool.

    Returns:
        Exit status 0.

    Raises:
        SystemExit: With the message of a ``ValueError`` or ``OSError``.
    """
    try:
        work()
    except (ValueError, OSError) as error:
        raise SystemExit(f'error: {error}') from None
    return 0


@contextmanager
def _whole_file(path: str, source: str) -> Iterator[BinaryIO]:
    """A file that appears under its name only when it is complete."""
    target = Path(path)
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise ValueError(
            f'expected another file to write to than {source}, got the same'
        )
    with atomic_write(target) as beside, beside.open('wb') as file:
        yield file
