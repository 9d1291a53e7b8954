"""Finds installed packages without ``pkg_resources``."""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from mmengine.utils import package_utils

from .fix import Fix

# Every module that holds the two functions by name.
_HOLDERS = (
    'mmengine.utils.package_utils',
    'mmengine.utils',
    'mmengine.config.config',
    'mmengine.hub.hub',
)


def _spec(module: str) -> Any:
    """Returns the spec of a regular package or module, or None."""
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        return None
    return spec if spec is not None and spec.origin is not None else None


def _is_distributed(name: str) -> bool:
    """Tells whether a distribution of this name is installed."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def is_installed(package: str) -> bool:
    """Tells whether a distribution or module of this name is installed.

    Args:
        package: Name of a distribution (``mmcv-lite``) or module (``mmcv``).

    Returns:
        True if there is one.
    """
    return _is_distributed(package) or _spec(package) is not None


def get_installed_path(package: str) -> str:
    """Returns the folder of a package's module.

    Args:
        package: Name of a module, or of a distribution that holds one of
            another name (``mmcv-lite`` holds ``mmcv``).

    Returns:
        The folder, absolute.

    Raises:
        importlib.metadata.PackageNotFoundError: If nothing is installed
            under this name.
        RuntimeError: If the name is that of a namespace package only.
    """
    if not is_installed(package):
        if importlib.util.find_spec(package) is not None:
            raise RuntimeError(
                f'expected a regular package, got the namespace {package!r}'
            )
        raise metadata.PackageNotFoundError(package)
    spec = _spec(package)
    if spec is None:
        listed = metadata.distribution(package).read_text('top_level.txt')
        for module in (listed or '').split():
            spec = spec or _spec(module)
    if spec is None:
        raise RuntimeError(
            f'expected the distribution {package!r} to name its module in '
            'top_level.txt, but it names none that can be imported'
        )
    return str(Path(spec.origin).parent)


def duplicate_mmcv() -> str | None:
    """Says what to do where two distributions own the module ``mmcv``.

    Returns:
        The problem and its remedy, or None where there is no problem.
    """
    names = ('mmcv', 'mmcv-full', 'mmcv-lite')
    found = [name for name in names if _is_distributed(name)]
    if len(found) < 2:
        return None
    return (
        f'{" and ".join(found)} are both installed and own the same module: '
        'what is imported is a mixture of their files. Uninstall both, then '
        'install the one you want; to keep the full mmcv, install it last '
        'and install ahpcl with `pip install --no-deps`'
    )


def _needed() -> bool:
    if package_utils.is_installed is is_installed:
        return False
    return importlib.util.find_spec('pkg_resources') is None


def _apply() -> None:
    for name in _HOLDERS:
        module: Any = sys.modules.get(name)
        for function in (is_installed, get_installed_path):
            if hasattr(module, function.__name__):
                setattr(module, function.__name__, function)


PKG_RESOURCES = Fix(
    name='pkg-resources',
    symptom=(
        "No module named 'pkg_resources' at _base_ = 'mmselfsup::...' with "
        'setuptools >= 82'
    ),
    upstream=(
        'mmengine 0.10.7 utils/package_utils.py; removed by '
        'https://github.com/pypa/setuptools/pull/5007'
    ),
    needed=_needed,
    apply=_apply,
)
