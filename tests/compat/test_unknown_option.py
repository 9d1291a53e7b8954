"""Options that a component does not have, in one line."""

import re

import pytest
from mmengine.registry import TASK_UTILS

import ahpcl.engine  # noqa: F401  (registers what is built)
from ahpcl.compat.unknown_option import unknown_option


@TASK_UTILS.register_module(force=True)
class CallsWrongly:
    """Its own mistake is not the user's."""

    def __init__(self):
        dict.fromkeys(number=1)


@pytest.mark.parametrize(
    ('settings', 'said'),
    [
        (
            dict(type='SlidingWindowPolicy', lenght=3),
            'options of SlidingWindowPolicy, which are length, .*, got '
            "'lenght'; did you mean 'length'",
        ),
        (
            dict(type='FixedPolicy', epochs=1, zzz=1),
            "which are epochs, .*, got 'zzz'; remove it",
        ),
    ],
)
def test_a_component_names_its_options(settings, said):
    with pytest.raises(TypeError) as raised:
        TASK_UTILS.build(settings)
    text = unknown_option(raised.value)
    assert text.startswith('expected ')
    assert re.search(said, text)


def test_other_type_errors_are_left_alone():
    with pytest.raises(TypeError) as raised:
        TASK_UTILS.build(dict(type='CallsWrongly'))
    assert unknown_option(raised.value) is None
    assert unknown_option(TypeError("unexpected keyword argument 'a'")) is None
