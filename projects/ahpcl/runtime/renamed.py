"""Names of version 0.1 that configs may still use, with a warning."""

from __future__ import annotations

import warnings
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ahpcl.runtime.atomic_checkpoint_hook import AtomicCheckpointHook
from ahpcl.runtime.safe_checkpoint_hook import SafeCheckpointHook
from ahpcl.utils.deprecation import REMOVAL

_RENAMED: dict[str, type[Hook]] = {
    'WholeCheckpointHook': AtomicCheckpointHook,
    'PlainCheckpointHook': SafeCheckpointHook,
}


def _register(old: str, new: type[Hook]) -> None:
    def build(**options: Any) -> Hook:
        warnings.warn(
            f'{old!r} is now called {new.__name__!r}: change the type in the '
            f'config; the old name {REMOVAL}',
            FutureWarning,
            stacklevel=2,
        )
        return new(**options)

    HOOKS.register_module(name=old, module=build)


for _old, _new in _RENAMED.items():
    _register(_old, _new)
