"""Configs of version 0.1 go on working, and say what to change."""

import pytest
from mmengine.registry import HOOKS

from ahpcl.runtime import AtomicCheckpointHook, SafeCheckpointHook
from ahpcl.utils.deprecation import REMOVAL


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('WholeCheckpointHook', AtomicCheckpointHook),
        ('PlainCheckpointHook', SafeCheckpointHook),
    ],
)
def test_an_old_name_builds_the_new_hook_and_says_so(old, new):
    with pytest.warns(FutureWarning, match=new.__name__) as said:
        hook = HOOKS.build(dict(type=old))
    assert REMOVAL in str(said[0].message)
    assert type(hook) is new
