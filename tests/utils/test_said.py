"""Lines are said once in every run, also where a process has several."""

import logging

import pytest
from mmengine.logging import MMLogger

from ahpcl.utils.quiet import quiet_log
from ahpcl.utils.said import log_once


@pytest.fixture
def logs():
    """Two logs of runs, and what each has."""
    found = {}

    class Keep(logging.Handler):
        def __init__(self, lines):
            super().__init__()
            self.lines = lines

        def emit(self, record):
            self.lines.append(record.getMessage())

    for name in ('said_first', 'said_second'):
        found[name] = []
        MMLogger.get_instance(name).addHandler(Keep(found[name]))
    yield found
    for name in found:
        MMLogger._instance_dict.pop(name, None)


def use(name):
    MMLogger._instance_dict.move_to_end(name)


def test_every_log_has_a_line_once(logs):
    for name in ('said_first', 'said_second', 'said_first'):
        use(name)
        log_once('three pages')
        log_once('three pages')
        log_once(f'of {name}')
    assert logs == {
        name: ['three pages', f'of {name}']
        for name in ('said_first', 'said_second')
    }


def test_what_was_dropped_is_said_later(logs):
    use('said_second')
    with quiet_log():
        log_once('two depths')
    log_once('two depths')
    assert logs['said_second'] == ['two depths']
