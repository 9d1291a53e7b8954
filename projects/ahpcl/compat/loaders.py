"""Cleans loader configs of scope tags and of workers they do not have."""

from __future__ import annotations

import copy
import functools
from typing import Any

from mmengine.runner import Runner

from .fix import Fix

_PROBE: dict[str, Any] = {
    'dataset': [0],
    'batch_size': 1,
    'sampler': {'type': 'DefaultSampler', 'shuffle': False, 'seed': 0},
}


def _probe(**extra: Any) -> Any:
    """Builds a loader over one number, without touching random state."""
    return Runner.build_dataloader(copy.deepcopy({**_PROBE, **extra}))


def _replace(change: Any) -> None:
    """Puts ``change(config)`` before ``Runner.build_dataloader``."""
    original = Runner.build_dataloader

    @functools.wraps(original)
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(dataloader, dict):
            dataloader = change(dataloader)
        return original(dataloader, *args, **kwargs)

    Runner.build_dataloader = staticmethod(build_dataloader)


def drop_scope(config: dict) -> dict:
    """Returns the config without scope tags on its two functions.

    Args:
        config: Config of a loader. It is not changed.

    Returns:
        The same config where there is nothing to drop, else a copy.
    """
    for key in ('collate_fn', 'worker_init_fn'):
        function = config.get(key)
        if isinstance(function, dict) and '_scope_' in function:
            config = copy.copy(config)
            config[key] = copy.copy(function)
            del config[key]['_scope_']
    return config


def drop_persistence(config: dict) -> dict:
    """Returns the config without ``persistent_workers`` if it has none.

    Args:
        config: Config of a loader. It is not changed.

    Returns:
        The same config where there is nothing to drop, else a copy.
    """
    if config.get('persistent_workers') and not config.get('num_workers', 0):
        config = copy.copy(config)
        config['persistent_workers'] = False
    return config


def _scope_needed() -> bool:
    tagged = {'type': 'pseudo_collate', '_scope_': 'mmengine'}
    loader = _probe(collate_fn=tagged)
    return '_scope_' in getattr(loader.collate_fn, 'keywords', {})


def _persistence_needed() -> bool:
    try:
        _probe(num_workers=0, persistent_workers=True)
    except ValueError:
        return True
    return False


SCOPED_FUNCTIONS = Fix(
    name='scoped-functions',
    symptom=(
        'default_collate() got an unexpected keyword argument '
        "'_scope_', with any dataset base inherited as 'mmselfsup::...'"
    ),
    upstream=(
        'mmengine 0.10.7 config/config.py and runner/runner.py; seen in '
        'https://github.com/open-mmlab/mmyolo/issues/886'
    ),
    needed=_scope_needed,
    apply=lambda: _replace(drop_scope),
)

WORKERLESS_LOADERS = Fix(
    name='workerless-loaders',
    symptom=(
        'ValueError: persistent_workers option needs num_workers > 0, '
        'with num_workers=0 over a base config that keeps its workers'
    ),
    upstream='torch DataLoader, as mmengine passes its config; no thread',
    needed=_persistence_needed,
    apply=lambda: _replace(drop_persistence),
)
