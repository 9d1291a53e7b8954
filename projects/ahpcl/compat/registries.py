"""Three registries of mmselfsup that look for a module it never had."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from .fix import Fix

_MISSING = 'mmselfsup.engine.runner'


def _registries() -> list[Any]:
    """Returns the registries of mmselfsup that point at the missing module."""
    if importlib.util.find_spec('mmselfsup') is None:
        return []
    from mmselfsup import registry

    candidates = (registry.RUNNERS, registry.RUNNER_CONSTRUCTORS)
    return [
        item
        for item in (*candidates, registry.LOOPS)
        if _MISSING in item._locations
    ]


def _needed() -> bool:
    registries = _registries()
    if not registries:
        return False
    import mmselfsup

    engine = Path(mmselfsup.__file__).parent / 'engine'
    return not any(engine.glob('runner*'))


def _apply() -> None:
    for registry in _registries():
        registry._locations = [
            'mmselfsup.engine' if name == _MISSING else name
            for name in registry._locations
        ]


RUNNER_REGISTRIES = Fix(
    name='runner-registries',
    symptom="No module named 'mmselfsup.engine.runner' at Runner.train",
    upstream=(
        'mmselfsup 1.0.0 registry.py; '
        'https://github.com/open-mmlab/mmselfsup/issues/745, '
        'https://github.com/open-mmlab/mmselfsup/pull/746 (unreleased)'
    ),
    needed=_needed,
    apply=_apply,
)
