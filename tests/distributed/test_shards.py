"""Features that stay on their ranks, against one process that has all."""

import sys
from pathlib import Path

import pytest
import torch

from ahpcl.core import (
    KMeansSettings,
    PrototypeHierarchy,
    build_hierarchy,
    spherical_kmeans,
)
from ranks import run_ranks

sys.path.insert(0, str(Path(__file__).parent))
from shards_worker import CASES, arguments, features_of_images, points

WORKER = Path(__file__).with_name('shards_worker.py')


@pytest.fixture(scope='module', params=[2, 3, 4])
def ranks(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f'shards{request.param}')
    run_ranks(WORKER, folder, ranks=request.param)
    return [torch.load(folder / f'rank_{r}.pt') for r in range(request.param)]


@pytest.mark.parametrize('name', CASES)
def test_parts_give_what_one_process_gives(ranks, name):
    case = CASES[name]
    x = points(case['n'], repeats=name == 'repeats')
    alone = build_hierarchy(x, case['k'], **arguments(case, x))
    found = [PrototypeHierarchy.from_state_dict(r[name]) for r in ranks]
    for mine in found:
        for level, first in zip(mine.levels, found[0].levels, strict=True):
            # The same on every rank, to the bit.
            assert torch.equal(level.centroids, first.centroids)
            assert torch.equal(level.assignments, first.assignments)
            assert torch.equal(level.concentration, first.concentration)
            if level.parents is not None:
                assert torch.equal(level.parents, first.parents)
    for level, expected in zip(found[0].levels, alone.levels, strict=True):
        torch.testing.assert_close(
            level.centroids, expected.centroids, atol=1e-5, rtol=0
        )
        assert torch.equal(level.assignments, expected.assignments)
        torch.testing.assert_close(
            level.concentration, expected.concentration, atol=1e-5, rtol=1e-4
        )
        assert level.objective == pytest.approx(expected.objective, rel=1e-5)
        assert level.num_repaired == expected.num_repaired
    if name == 'warm':
        assert sum(level.num_repaired for level in alone.levels) > 0


def test_a_result_is_of_the_own_points(ranks):
    alone = spherical_kmeans(points(1501), 20)
    for seen in ranks:
        own, assignments, objective = seen['result']
        assert torch.equal(assignments, alone.assignments[own])
        assert objective == pytest.approx(alone.objective, rel=1e-6)


def test_moved_centroids_are_of_the_images_of_all_ranks(ranks):
    x = points(1501)
    before = [max(i, 9) % 20 % 19 for i in range(1501)]
    for cluster in range(20):
        rows = [
            row for row, own in zip(x, before, strict=True) if own == cluster
        ]
        expected = torch.stack(rows).double().sum(0) if rows else -x[19]
        expected = (expected / expected.norm()).float()
        for seen in ranks:
            torch.testing.assert_close(seen['moved'][cluster], expected)
            assert torch.equal(seen['moved'], ranks[0]['moved'])


def test_every_image_belongs_to_one_rank_whatever_was_repeated(ranks):
    owned = [seen['owned'][0].tolist() for seen in ranks]
    assert sorted(i for own in owned for i in own) == list(range(8))
    even = 8 % len(ranks) == 0
    assert len({len(own) for own in owned}) == (1 if even else 2)
    for own, seen in zip(owned, ranks, strict=True):
        assert own == sorted(own)
        assert len(seen['owned'][1]) == 0
        assert seen['missing'].tolist() == [8, 9]
        expected = features_of_images(torch.arange(8))
        assert torch.equal(seen['whole'], expected)
    parts = torch.cat([seen['own_range'] for seen in ranks])
    assert torch.equal(parts, features_of_images(torch.arange(8)))


def test_what_needs_all_points_is_refused():
    from ahpcl.core.clustering.shards import Shards

    class Two(Shards):
        """Stands for parts elsewhere."""

    x = points(100)
    with pytest.raises(ValueError, match='splits need all points'):
        build_hierarchy(x, (20, 5), linkage='divisive', shards=Two())
    with pytest.raises(ValueError, match='bounded sizes need all points'):
        spherical_kmeans(x, 5, KMeansSettings(balance=1.5), shards=Two())
