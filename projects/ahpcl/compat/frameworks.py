"""MMPretrain under the names of the packages that it took the place of."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from mmengine.registry import Registry

from .fix import Fix

#: mmcls was renamed to MMPretrain, which took mmselfsup's classes over.
_FORMER = ('mmcls', 'mmselfsup')


def scope_of(config: Mapping[str, Any]) -> str:
    """Return the default scope in which a config is built here.

    Args:
        config: Its ``default_scope``, if it has none mmselfsup's, is that of
            the framework of the run.

    Returns:
        The same, but MMPretrain's for that of a package which is absent where
        MMPretrain, which took its place, is installed.

    Example:
        >>> scope_of(dict(default_scope='mmengine'))
        'mmengine'
    """
    scope = config.get('default_scope') or 'mmselfsup'
    return 'mmpretrain' if scope in _absent() else scope


def both_frameworks() -> str | None:
    """Say which framework is used where both are installed.

    Returns:
        A line for the log; None where one of them is absent.
    """
    for name in ('mmselfsup', 'mmpretrain'):
        if importlib.util.find_spec(name) is None:
            return None
    return (
        'mmselfsup and MMPretrain are both installed: components are those of '
        'mmselfsup; uninstall mmselfsup and mmcls to use those of MMPretrain'
    )


def _absent() -> tuple[str, ...]:
    """Former packages that are absent where MMPretrain is installed."""
    if importlib.util.find_spec('mmpretrain') is None:
        return ()
    return tuple(
        name for name in _FORMER if importlib.util.find_spec(name) is None
    )


def _apply() -> None:
    import mmengine.registry
    import mmpretrain.registry

    for name, child in vars(mmpretrain.registry).items():
        root: Any = getattr(mmengine.registry, name, None)
        if not isinstance(root, Registry) or not isinstance(child, Registry):
            continue
        for former in _absent():
            root._children.setdefault(former, child)


FORMER_SCOPES = Fix(
    name='former-scopes',
    symptom=(
        "KeyError: 'mmcls.ResNet_CIFAR is not in the model registry' where "
        'MMPretrain is installed and mmcls is not'
    ),
    upstream=(
        'mmcls 1.0.0rc6 is the last of its name; '
        'https://github.com/open-mmlab/mmpretrain'
    ),
    needed=lambda: bool(_absent()),
    apply=_apply,
)
