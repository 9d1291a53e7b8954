"""The table of counts: rivals on what they must find, and the page."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tools_modules import tool_modules

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope='module')
def tools():
    names = ('_paths', '_counting', 'count_kinds')
    with tool_modules('experiments', *names) as modules:
        yield SimpleNamespace(
            **{name.strip('_'): module for name, module in modules.items()}
        )


def test_rivals_find_kinds_that_are_far_apart(tools):
    mixture = tools.counting.Mixture(4, 0.05)
    rows = tools.counting.draw(mixture, 240, 32, seed=0)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(240))
    counts = [2, 3, 4, 5, 6]
    assert tools.counting.by_silhouette(rows, counts) == 4
    assert tools.counting.by_gap(rows, counts, references=3) == 4
    assert 4 in tools.counting.by_finch(rows)


def test_finch_joins_first_neighbours():
    with tool_modules('experiments', '_paths', '_counting') as modules:
        by_finch = modules['_counting'].by_finch
        # On a circle: two pairs that are near each other, and a third.
        angles = torch.tensor([0.0, 1, 10, 11, 100, 101]).deg2rad()
        rows = torch.stack([angles.cos(), angles.sin()], 1)
        # Means of three clusters: the first two are neighbours, and the
        # nearest of the third is one of them: all are joined, which is one.
        assert by_finch(F.normalize(rows, dim=1)) == [3]


def test_the_page_has_the_table_of_the_results(tools):
    table = tools.count_kinds.table(
        json.loads(tools.count_kinds.RESULTS.read_text('utf-8'))
    )
    page = (ROOT / 'docs' / 'how_many_clusters.md').read_text('utf-8')
    assert table in page


def test_near_enough_is_bold(tools):
    marked = tools.count_kinds._marked
    assert marked(12, [10]) == '**12**' and marked(13, [10]) == '13'
    assert marked(40, [4, 12, 36]) == '**40**'
