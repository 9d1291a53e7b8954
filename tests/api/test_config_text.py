"""A config is read from a checkpoint's text as data, never run."""

import math

import pytest
from mmengine.config import Config

from ahpcl.api.config_text import parse_config
from toy import toy_config


def test_a_resolved_config_comes_back(tmp_path):
    config = toy_config(tmp_path)
    found = parse_config(config.pretty_text)
    assert found.to_dict() == config.to_dict()


def test_what_literals_there_are():
    text = (
        "a = dict(b=[1, -2.5, None, True], c=(1, ), d={'x.y': 'z'})\n"
        "e = float('inf')\nf = -inf\ng = {1, 2}\nh = set()\ni = 'a' 'b'\n"
    )
    found = parse_config(text)
    assert found.a == dict(b=[1, -2.5, None, True], c=(1,), d={'x.y': 'z'})
    assert math.isinf(found.e) and found.f == -math.inf
    assert found.g == {1, 2} and found.h == set() and found.i == 'ab'
    assert isinstance(found, Config)


@pytest.mark.parametrize(
    'text',
    [
        "open('{}', 'w')",
        "a = open('{}', 'w')",
        "import os\nos.mkdir('{}')",
        "a = __import__('os').mkdir('{}')",
        "a = dict(b=dict(c=open('{}', 'w')))",
        "a = [x for x in open('{}', 'w')]",
        "a = dict(**open('{}', 'w'))",
        "a: open('{}', 'w') = 1",
        'a = f\'{{open("{}", "w")}}\'',
        'a = dict(1)',
        'a.b = 1',
        'a = (',
    ],
)
def test_a_program_is_refused(text, tmp_path):
    canary = tmp_path / 'executed'
    with pytest.raises(ValueError, match='expected'):
        parse_config(text.format(canary))
    assert not canary.exists()
