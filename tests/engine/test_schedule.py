import math

import pytest

from ahpcl.core import ClusterLadder
from ahpcl.engine import LadderSmoothing
from ahpcl.engine.schedule import build_ladder, resumed_ladder


def formula(k, k_max):
    return min(0.2, 0.2 * math.sqrt((k_max - k) / k_max))


def test_newest_rung_decides_for_all_levels():
    ladder = ClusterLadder([100, 50, 10, 5], window=3)
    smoothing = LadderSmoothing(reference='newest')
    expected = formula(10, 100)
    assert smoothing.at(ladder) == pytest.approx(
        {100: expected, 50: expected, 10: expected}
    )
    ladder.advance()
    assert set(smoothing.at(ladder)) == {50, 10, 5}
    assert smoothing.at(ladder)[50] == pytest.approx(formula(5, 100))


def test_every_level_for_itself():
    ladder = ClusterLadder([5, 10, 100], window=3)
    smoothing = LadderSmoothing(reference='level').at(ladder)
    assert smoothing[100] == 0
    assert smoothing[5] == pytest.approx(formula(5, 100))
    assert smoothing[10] == pytest.approx(formula(10, 100))


def test_rejects_what_it_cannot_do():
    with pytest.raises(ValueError, match="got 'oldest'"):
        LadderSmoothing(reference='oldest')
    with pytest.raises(ValueError, match=r'ceiling.*1.5'):
        LadderSmoothing(ceiling=1.5)


def test_an_auto_ladder_stays_when_images_come_or_go():
    config = dict(type='AutoLadder', window=2)
    first = resumed_ladder(config, 1000, None)
    first.advance()
    more = resumed_ladder(config, 1500, first.state_dict())
    assert more.rungs == first.rungs != build_ladder(config, 1500).rungs
    more.load_state_dict(first.state_dict())
    assert more.current == first.current
    # What a config lists is what the user says.
    listed = dict(rungs=[50, 20, 10], window=2)
    other = resumed_ladder(listed, 1500, first.state_dict())
    assert other.rungs == (50, 20, 10)
