import os
import random
import sys

import pytest

from ahpcl.utils.text import as_utf8, from_utf8

NAMES = [
    b'plain.png',
    b'caf\xe9 \xff\x80.png',
    'café \N{CAT FACE}.png'.encode(),
    rb'C:\udce9\u005c\udc80.png',  # looks escaped, and is not
    b'\\\xe9',
    rb'\u005c' + b'\xe9',
]


@pytest.mark.parametrize('raw', NAMES)
def test_every_name_comes_back(raw):
    name = os.fsdecode(raw)
    text = as_utf8(name)
    text.encode('utf-8')
    assert os.fsencode(from_utf8(text)) == raw


def test_names_of_utf8_stay_as_they_are():
    assert as_utf8('a\\b \N{CAT FACE}\n') == 'a\\b \N{CAT FACE}\n'


def test_it_looks_as_python_and_json_show_it():
    name = os.fsdecode(b'x\xff')
    expected = name.encode('utf-8', 'backslashreplace').decode()
    assert as_utf8(name) == expected == 'x\\udcff'


def test_random_bytes_come_back_and_differ():
    rng = random.Random(0)
    alphabet = [b'\\', b'u', b'd', b'c', b'0', b'5', b'f', b'\xe9', b'\xff']
    seen = {}
    for _ in range(3000):
        raw = b''.join(rng.choices(alphabet, k=rng.randint(1, 14)))
        text = as_utf8(os.fsdecode(raw))
        assert os.fsencode(from_utf8(text)) == raw
        assert seen.setdefault(text, raw) == raw
    assert sys.getfilesystemencoding() == 'utf-8'
