"""Configs by name: at a scale, as a variant of the plan, by an old path."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from ahpcl.compat.configs import PREFIX, config_root

#: Variable that names the file of `configs/_base_/scales` which the configs of
#: `configs/baselines` inherit: a data set, an encoder and a schedule.
SCALE = 'AHPCL_SCALE'
ROOT = config_root()
EXPERIMENTS = ROOT / 'experiments'
PLAN = EXPERIMENTS / 'plan.yml'


def read_at_scale(path: str | Path, scale: str | None) -> Config:
    """Reads a config that takes its data set from a scale.

    Args:
        path: Path of the config, such as ``configs/baselines/pcl.py``.
        scale: Name of a file in ``configs/_base_/scales``, or the path of
            another one from there, without ``.py``; None for what the
            environment says.
    """
    if scale is None:
        return Config.fromfile(path)
    before = os.environ.get(SCALE)
    os.environ[SCALE] = scale
    try:
        return Config.fromfile(path)
    finally:
        if before is None:
            del os.environ[SCALE]
        else:
            os.environ[SCALE] = before


def unknown_scale() -> str | None:
    """What to say if the environment names a scale that is none."""
    scale, folder = os.environ.get(SCALE), ROOT / '_base_' / 'scales'
    if scale is None or (folder / f'{scale}.py').is_file():
        return None
    known = ', '.join(sorted(path.stem for path in folder.glob('*.py')))
    return f'expected {SCALE} to be one of {known}, got {scale!r}'


@cache
def variants() -> Mapping[str, dict[str, Any]]:
    """The variants of the project's plan, by name."""
    return yaml.safe_load(PLAN.read_text('utf-8'))['variants']


def read_variant(name: str, scale: str | None) -> Config:
    """A variant of the plan, or a config that is none, at a scale.

    Args:
        name: Name of a variant in ``plan.yml``, of a file in
            ``configs/experiments`` or ``configs/baselines``, or, with a
            slash, of a file below ``configs``.
        scale: See :func:`read_at_scale`.

    Raises:
        ValueError: If there is no such variant and no such file.
    """
    if name in variants():
        variant = variants()[name]
        found = read_variant(variant['config'], scale)
        # Merging takes `_delete_` out of what it merges.
        options = copy.deepcopy(variant.get('options', {}))
        found.merge_from_dict(options, allow_list_keys=True)
        return found
    folders = [EXPERIMENTS, ROOT / 'baselines']
    for folder in [ROOT] if '/' in name else folders:
        if (folder / f'{name}.py').is_file():
            return read_at_scale(folder / f'{name}.py', scale)
    raise ValueError(
        f'expected a config {EXPERIMENTS / name}.py, one of '
        f'{ROOT / "baselines"}, or a variant of {PLAN}, got none'
    )


def read_old_path(path: str) -> tuple[Config, str] | None:
    """Reads a config of version 0.1 whose file is gone.

    A method had a file for every data set (``baselines/pcl_tin100.py``), and
    an experiment that changes one key had a file, too.

    Args:
        path: That does not exist, perhaps with ``ahpcl::`` before it.

    Returns:
        The config, and what to use instead; None if there never was such a
        file.
    """
    file = Path(path.replace(PREFIX, f'{ROOT}/'))
    if file.parent.name == 'experiments' and file.stem in variants():
        return read_variant(file.stem, None), (
            f'a variant in {PLAN}, whose rows tools/experiments/run.py runs'
        )
    if file.parent.name == 'baselines':
        for scale in (p.stem for p in (ROOT / '_base_/scales').glob('*.py')):
            now = file.with_name(f'{file.stem.removesuffix(f"_{scale}")}.py')
            if now != file and now.is_file():
                found = read_at_scale(now, scale)
                return found, f'{now} with {SCALE}={scale} in the environment'
    return None
