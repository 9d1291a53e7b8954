"""Refuses pickled checkpoints with a clear message, unless told to trust."""

from __future__ import annotations

import functools
import os
import pickle
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from .checkpoint_defects import defect_of, is_archive
from .fix import Fix

TRUST_VARIABLE = 'AHPCL_TRUST_PICKLE'
_TORCH_TRUST = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
_TORCH_DISTRUST = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
_YES = ('1', 'y', 'yes', 'true')


class PickledCheckpointError(pickle.UnpicklingError):
    """A checkpoint needs more than tensors and plain values to load."""


def trusts_pickle() -> bool:
    """Tells whether the user has opted in to loading pickled checkpoints."""
    return any(
        os.environ.get(name, '').lower() in _YES
        for name in (TRUST_VARIABLE, _TORCH_TRUST)
    )


@contextmanager
def _environment(**variables: str | None) -> Iterator[None]:
    """Sets (with None: unsets) environment variables within the context."""
    before = {name: os.environ.get(name) for name in variables}

    def put(values: dict[str, str | None]) -> None:
        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    put(variables)
    try:
        yield
    finally:
        put(before)


def _culprit(error: BaseException) -> str:
    """Finds the object that a safe load stumbled over, if torch says."""
    found = re.search(r'GLOBAL ([\w.]+)|class ([\w.]+)', str(error))
    if found:
        return f'pickled Python objects ({found[1] or found[2]})'
    return 'pickled Python objects, or is damaged'


def _without_program(content: Any) -> Any:
    """Removes a config in Python, which mmengine would run on resume.

    ``Runner.resume`` runs ``meta['config']``, which old checkpoints have,
    to read the number of GPUs from it.
    """
    meta = content.get('meta') if isinstance(content, dict) else None
    if isinstance(meta, dict):
        meta.pop('config', None)
    return content


def _refuse_damaged(filename: str | os.PathLike) -> None:
    """Compares the checksums of a local file, which torch does not.

    Raises:
        ValueError: If one differs, or the archive was cut off.
    """
    path = Path(os.path.expanduser(filename))
    if '://' in str(filename) or not is_archive(path):
        return
    defect = defect_of(path)
    if defect is not None:
        raise ValueError(
            f'expected a complete checkpoint, got {filename}: it {defect}; '
            'take another, or copy it again'
        )


def _load_checkpoint(original: Any) -> Any:
    """Wraps ``CheckpointLoader.load_checkpoint``, whatever its backends."""

    @functools.wraps(original)
    def load_checkpoint(
        cls: type,
        filename: str,
        map_location: Any = None,
        logger: Any = 'current',
    ) -> Any:
        _refuse_damaged(filename)
        if trusts_pickle():
            warnings.warn(
                f'loading {filename} with pickle, as {TRUST_VARIABLE} asks: '
                'this runs any code that its author put into it',
                stacklevel=2,
            )
            with _environment(**{_TORCH_TRUST: '1', _TORCH_DISTRUST: None}):
                return original(cls, filename, map_location, logger)
        try:
            with _environment(**{_TORCH_TRUST: None, _TORCH_DISTRUST: '1'}):
                content = original(cls, filename, map_location, logger)
            return _without_program(content)
        except pickle.UnpicklingError as error:
            raise PickledCheckpointError(
                'expected a checkpoint of tensors and plain values, got '
                f'{filename}, which needs {_culprit(error)}. Loading such a '
                'file can run any code that its author put into it. If you '
                'trust where it comes from, set the environment variable '
                f'{TRUST_VARIABLE}=1 and try again; checkpoints written '
                'with the SafeCheckpointHook need no trust.'
            ) from error

    load_checkpoint._ahpcl = True  # type: ignore[attr-defined]
    return load_checkpoint


def _needed() -> bool:
    return not hasattr(CheckpointLoader.load_checkpoint, '_ahpcl')


def _apply() -> None:
    original = CheckpointLoader.load_checkpoint.__func__
    CheckpointLoader.load_checkpoint = classmethod(_load_checkpoint(original))


PICKLED_CHECKPOINTS = Fix(
    name='pickled-checkpoints',
    symptom=(
        'UnpicklingError: Weights only load failed ... HistoryBuffer, on '
        'resume, test or any load of a full checkpoint (torch >= 2.6); '
        'older torch runs whatever the file holds'
    ),
    upstream=(
        'mmengine 0.10.7 runner/checkpoint.py; '
        'https://github.com/open-mmlab/mmengine/issues/1655, '
        'https://github.com/open-mmlab/mmengine/pull/1650 '
        '(trusts every file; unreleased)'
    ),
    needed=_needed,
    apply=_apply,
)
