"""Runners of one process that take each other's folders for their own."""

from __future__ import annotations

import functools
import time
from typing import Any

from mmengine.registry import Registry
from mmengine.runner import Runner
from mmengine.utils import ManagerMixin
from mmengine.visualization import Visualizer

from .fix import Fix

_TIME = '%Y%m%d_%H%M%S'
_MARK = '_of_one_process'
# Timestamps that Runners of this process have: names are made of them.
_taken: set[str] = set()


def _patch(name: str, wrapper: Any) -> None:
    """Puts a function in the place of a method of the Runner."""
    setattr(wrapper, _MARK, True)
    setattr(Runner, name, wrapper)


def _patched(name: str) -> bool:
    return hasattr(getattr(Runner, name), _MARK)


def _visualizer_needed() -> bool:
    if _patched('build_visualizer'):
        return False
    probes = Registry('probe of instances', scope='ahpcl')

    @probes.register_module()
    class Named(ManagerMixin):
        pass

    first, second = (probes.build(dict(type=Named, name='a')) for _ in 'ab')
    return first is second


def _apply_visualizer() -> None:
    original = Runner.build_visualizer

    @functools.wraps(original)
    def build_visualizer(self: Runner, visualizer: Any = None) -> Any:
        if not isinstance(visualizer, Visualizer):
            name = (visualizer or {}).get('name', self._experiment_name)
            for kind in [Visualizer, *_below(Visualizer)]:
                kind._instance_dict.pop(name, None)
        return original(self, visualizer)

    _patch('build_visualizer', build_visualizer)


def _below(kind: type) -> list[type]:
    return [
        found
        for child in kind.__subclasses__()
        for found in (child, *_below(child))
    ]


def _timestamp_needed() -> bool:
    names = Runner.setup_env.__code__.co_consts
    return not _patched('setup_env') and _TIME in names


def _apply_timestamp() -> None:
    original = Runner.setup_env

    @functools.wraps(original)
    def setup_env(self: Runner, env_cfg: dict) -> None:
        original(self, env_cfg)
        while self._timestamp in _taken:
            moment = time.mktime(time.strptime(self._timestamp, _TIME))
            later = time.localtime(moment + 1)
            self._timestamp = time.strftime(_TIME, later)
        _taken.add(self._timestamp)

    _patch('setup_env', setup_env)


def make_current(runner: Runner) -> None:
    """Makes logger, message hub, scope and visualizer of a Runner the current.

    Args:
        runner: The Runner that works from now on.
    """
    for thing in (
        *(runner.logger, runner.message_hub, runner.visualizer),
        runner.default_scope,
    ):
        if not isinstance(thing, ManagerMixin):
            continue
        kinds = {type(thing)}
        if isinstance(thing, Visualizer):
            kinds.add(Visualizer)
        for kind in kinds:
            kind._instance_dict[thing.instance_name] = thing
            kind._instance_dict.move_to_end(thing.instance_name)


def _current_needed() -> bool:
    return not _patched('train')


def _apply_current() -> None:
    def working(original: Any) -> Any:
        @functools.wraps(original)
        def work(self: Runner, *args: Any, **kwargs: Any) -> Any:
            make_current(self)
            return original(self, *args, **kwargs)

        return work

    for name in ('train', 'val', 'test'):
        _patch(name, working(getattr(Runner, name)))


OWN_VISUALIZER = Fix(
    name='own-visualizer',
    symptom=(
        'the second Runner of a process writes its scalars and its config '
        'into the folder of the first, where visualizer has a name of its own'
    ),
    upstream=(
        'mmengine 0.10.7 runner/runner.py, build_visualizer; seen as an error '
        'in https://github.com/open-mmlab/mmselfsup/issues/575'
    ),
    needed=_visualizer_needed,
    apply=_apply_visualizer,
)

OWN_TIMESTAMP = Fix(
    name='own-timestamp',
    symptom=(
        'two Runners of a process that were built within a second write one '
        'log, and share epoch, iteration and histories in one message hub'
    ),
    upstream='mmengine 0.10.7 runner/runner.py, setup_env; no thread',
    needed=_timestamp_needed,
    apply=_apply_timestamp,
)

CURRENT_RUNNER = Fix(
    name='current-runner',
    symptom=(
        "print_log(logger='current') writes into the log of the Runner that "
        'was built last, also while another one trains'
    ),
    upstream='mmengine 0.10.7 runner/runner.py; no thread',
    needed=_current_needed,
    apply=_apply_current,
)
