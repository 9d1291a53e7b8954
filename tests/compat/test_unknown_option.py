"""Options that a component does not have, in one line."""

import re

import pytest
from mmengine.registry import TASK_UTILS

import ahpcl.engine  # noqa: F401  (registers what is built)
from ahpcl.compat.unknown_option import unknown_option
from ahpcl.core import FixedPolicy


@TASK_UTILS.register_module(force=True)
class CallsWrongly:
    """Its own mistake is not the user's."""

    def __init__(self):
        unknown_option(number=1)


@TASK_UTILS.register_module(force=True)
class HandsOn(FixedPolicy):
    """Takes one option more than the class that it is derived from."""

    def __init__(self, more=0, **others):
        super().__init__(**others)


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
        (
            dict(type='HandsOn', epoch=1),
            "options of HandsOn, which are more, epochs, .*, got 'epoch'; did "
            "you mean 'epochs'",
        ),
        (
            dict(type='GeometricLadder', starts=9, ratio=2, stop=2),
            'options of geometric_ladder, which are start, ratio, stop, window'
            ", min_images_per_cluster, got 'starts'; did you mean 'start'",
        ),
    ],
)
def test_a_component_names_its_options(settings, said):
    ladder = settings['type'] == 'GeometricLadder'
    filled = dict(num_images=100) if ladder else None
    with pytest.raises(TypeError) as raised:
        TASK_UTILS.build(settings, default_args=filled)
    text = unknown_option(raised.value)
    assert text.startswith('expected ')
    assert re.search(said, text)


def test_other_type_errors_are_left_alone():
    with pytest.raises(TypeError) as raised:
        TASK_UTILS.build(dict(type='CallsWrongly'))
    assert unknown_option(raised.value) is None
    assert unknown_option(TypeError("unexpected keyword argument 'a'")) is None
