"""The page of kinds: every row is held by tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs' / 'own_images_kinds.md'
NAMED = re.compile(r'`([\w/]+\.py)::(\w+)`')


def rows(text):
    """Kind, what happens and tests of every row of the tables."""
    lines = [line for line in text.splitlines() if line.startswith('|')]
    cells = [line.strip('|').split(' | ') for line in lines]
    return [row for row in cells if len(row) > 1 and row[0].strip() != 'kind']


def missing(text):
    """Tests that a page names and that are not there."""
    gone = []
    for file, name in NAMED.findall(text):
        path = ROOT / 'tests' / file
        tree = ast.parse(path.read_text('utf-8')) if path.is_file() else None
        if tree is None or name not in {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
        }:
            gone.append(f'{file}::{name}')
    return gone


def test_every_named_test_exists():
    assert missing(PAGE.read_text('utf-8')) == []


def test_every_row_names_a_test():
    found = rows(PAGE.read_text('utf-8'))
    assert len(found) > 60
    for row in found:
        assert len(row) == 3 and NAMED.search(row[2]), row
        assert not NAMED.sub('', row[2]).strip(' ,|'), row


@pytest.mark.parametrize(
    'name', ['docs/test_kinds.py::test_gone', 'nowhere.py::test_missing']
)
def test_a_test_that_is_gone_is_found(name):
    text = f'`docs/test_kinds.py::test_every_row_names_a_test`, `{name}`'
    assert missing(text) == [name]
