import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahpcl.core.schedule.ladder import ClusterLadder

FULL = (2, 5, 10, 20, 33, 50, 100, 200, 400, 800, 1600, 2400, 3200)


@pytest.mark.parametrize(
    ('rungs', 'windows'),
    [
        ([2, 5, 10, 20], [(2, 5), (5, 10), (10, 20)]),
        ([20, 10, 5, 2], [(20, 10), (10, 5), (5, 2)]),
    ],
)
def test_window_climbs_and_stays_at_the_end(rungs, windows):
    ladder = ClusterLadder(rungs, window=2)
    assert ladder.num_advances == 2
    for position, window in enumerate(windows):
        assert ladder.current == window
        assert ladder.newest == window[-1]
        assert ladder.position == position
        assert ladder.remaining == 2 - position
        assert ladder.exhausted == (position == 2)
        assert ladder.max_clusters == 20
        assert ladder.advance() == (position < 2)
    assert ladder.current == windows[-1]
    assert ladder.rungs == tuple(rungs)
    assert ladder.window == 2
    assert 'at' in repr(ladder)


def test_full_ladders_make_ten_advances_with_a_window_of_three():
    for rungs in (FULL, FULL[::-1]):
        ladder = ClusterLadder(rungs)
        seen = [ladder.current]
        while ladder.advance():
            seen.append(ladder.current)
        assert len(seen) == 11
        assert seen[0] == rungs[:3]
        assert seen[-1] == rungs[-3:]


def test_a_ladder_that_never_moves():
    ladder = ClusterLadder([25000, 50000, 100000], window=3)
    assert ladder.exhausted
    assert not ladder.advance()
    assert ClusterLadder([7], window=1).current == (7,)


def test_numpy_integers_are_whole():
    ladder = ClusterLadder(np.array([4, 2, 1]), window=np.int64(2))
    assert ladder.current == (4, 2)
    json.dumps(ladder.state_dict())


@pytest.mark.parametrize(
    ('rungs', 'window', 'message'),
    [
        ([], 1, 'at least one rung.*auto'),
        ([2, 10, 5], 1, r'ascend or descend.*\(2, 10, 5\); sort'),
        ([2, 5, 5], 1, 'got 5 repeatedly'),
        ([0, 5], 1, 'rungs >= 1, got 0'),
        ([5, -2], 1, 'got -2'),
        ([2.0, 5], 1, 'whole number, got 2.0'),
        (['2', 5], 1, "whole number, got '2'"),
        ([True, 5], 1, 'got True'),
        ([2, 5], 3, 'from 1 to 2.*got 3.*window='),
        ([2, 5], 0, 'got 0'),
        ([2, 5], 1.0, 'window to be a whole number, got 1.0'),
    ],
)
def test_bad_ladders(rungs, window, message):
    with pytest.raises(ValueError, match=message):
        ClusterLadder(rungs, window)


# -- state ------------------------------------------------------------------


def test_state_round_trip_through_json():
    ladder = ClusterLadder(FULL[::-1])
    for _ in range(4):
        ladder.advance()
    twin = ClusterLadder(FULL[::-1])
    twin.load_state_dict(json.loads(json.dumps(ladder.state_dict())))
    assert twin.current == ladder.current == (400, 200, 100)
    assert twin.remaining == ladder.remaining


def test_state_of_a_shorter_ladder_fits_where_its_window_stands():
    ladder = ClusterLadder([5, 10, 20], window=2)
    ladder.advance()
    longer = ClusterLadder([2, 5, 10, 20, 40], window=2)
    longer.load_state_dict(ladder.state_dict())
    assert longer.current == (10, 20)
    assert longer.position == 2


@pytest.mark.parametrize(
    ('other', 'window'),
    [([40, 20, 10, 5], 2), ([5, 10, 15, 20], 2), ([5, 10, 20, 40], 3)],
)
def test_state_of_another_ladder_is_refused(other, window):
    ladder = ClusterLadder([5, 10, 20, 40], window=2)
    ladder.advance()
    twin = ClusterLadder(other, window=window)
    with pytest.raises(ValueError, match=r'\(10, 20\) in use'):
        twin.load_state_dict(ladder.state_dict())
    assert twin.position == 0


def test_broken_state_is_refused():
    ladder = ClusterLadder([5, 10], window=1)
    with pytest.raises(ValueError, match=r'without.*position'):
        ladder.load_state_dict({'rungs': [5, 10], 'window': 1})
    state = {'rungs': [5, 10], 'window': 1, 'position': -1}
    with pytest.raises(ValueError, match='>= 0, got -1'):
        ladder.load_state_dict(state)


# -- constructors -----------------------------------------------------------


@pytest.mark.parametrize(
    ('start', 'ratio', 'stop', 'rungs'),
    [
        (2, 2, 64, (2, 4, 8, 16, 32, 64)),
        (64, 2, 2, (64, 32, 16, 8, 4, 2)),
        (64, 0.5, 2, (64, 32, 16, 8, 4, 2)),
        (2, 3, 100, (2, 6, 18, 54, 100)),
        (2, 3, 55, (2, 6, 18, 55)),  # 54 lies too near
        (100, 10, 1, (100, 10, 1)),
        (7, 2, 7, (7,)),
        (2, 1.1, 5, (2, 3, 4, 5)),  # repetitions dropped
    ],
)
def test_geometric(start, ratio, stop, rungs):
    ladder = ClusterLadder.geometric(start, ratio, stop, window=1)
    assert ladder.rungs == rungs
    assert ladder.window == 1


@given(st.integers(1, 5000), st.floats(1.01, 20), st.integers(1, 5000))
def test_geometric_always_makes_a_ladder_between_its_ends(start, ratio, stop):
    rungs = ClusterLadder.geometric(start, ratio, stop, window=1).rungs
    assert rungs[0] == start and rungs[-1] == stop
    for a, b in itertools.pairwise(rungs if len(rungs) > 2 else ()):
        # Rounding moves both by half a cluster at most.
        assert (max(a, b) + 0.5) / (min(a, b) - 0.5) >= ratio**0.5 * 0.999


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((2, 1, 8), 'ratio above 1.*got 1'),
        ((2, 0.5, 8), 'got 0.5 from 2 to 8'),
        ((2, -2, 8), 'got -2'),
        ((2, float('inf'), 8), 'got inf'),
        ((2, float('nan'), 8), 'got nan'),
        ((0, 2, 8), 'start >= 1, got 0'),
        ((8, 2, 0), 'stop >= 1, got 0'),
        ((2.5, 2, 8), 'whole number, got 2.5'),
        ((2, 2, 4), 'window from 1 to 2'),
    ],
)
def test_geometric_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClusterLadder.geometric(*arguments)


def test_auto_by_hand():
    # 1797 // 12 = 149, then halves
    ladder = ClusterLadder.auto(1797)
    assert ladder.rungs == (149, 74, 37, 19, 9, 5, 2)
    assert ladder.window == 3
    up = ClusterLadder.auto(38400, direction='ascending', window=2)
    assert up.rungs[0] == 2 and up.rungs[-1] == 3200
    assert up.current == (2, 4)
    assert ClusterLadder.auto(
        800, min_images_per_cluster=100, coarsest=1, ratio=3
    ).rungs == (8, 3, 1)
    assert ClusterLadder.auto(38400, finest=1000).rungs[:2] == (1000, 500)
    assert ClusterLadder.auto(1797, finest=1000).rungs == ladder.rungs


@given(st.integers(150, 2_000_000), st.sampled_from(['asc', 'desc']))
def test_auto_ladders_fit_their_images(num_images, direction):
    ladder = ClusterLadder.auto(num_images, direction=f'{direction}ending')
    ladder.check_fits(num_images, 12)
    assert min(ladder.rungs) == 2
    assert (ladder.rungs[0] < ladder.rungs[-1]) == (direction == 'asc')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'num_images': 20}, 'room for 2 clusters.*20 images at 12'),
        ({'num_images': 50}, r'at least 3 rungs.*\(4, 2\).*lower'),
        ({'num_images': 0}, 'num_images >= 1, got 0'),
        ({'num_images': 900, 'direction': 'up'}, "got 'up'"),
        ({'num_images': 900, 'min_images_per_cluster': 0}, 'got 0'),
        ({'num_images': 900, 'ratio': 1.0}, 'ratio above 1'),
        ({'num_images': 900, 'finest': 3}, r'\(3, 2\).*finest=3.*raise it'),
        ({'num_images': 900, 'finest': 1}, 'room for 2.*finest=1 bounds'),
        ({'num_images': 900, 'finest': 0}, 'finest >= 1, got 0'),
    ],
)
def test_auto_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClusterLadder.auto(**arguments)


def test_check_fits():
    ladder = ClusterLadder([100, 50, 10])
    ladder.check_fits(200)
    ladder.check_fits(100, min_images_per_cluster=1)
    with pytest.raises(ValueError, match=r'at most 99 .* 199 .* got 100;'):
        ladder.check_fits(199)
    with pytest.raises(ValueError, match=r'got 100, 50; .*auto'):
        ladder.check_fits(200, min_images_per_cluster=10)
