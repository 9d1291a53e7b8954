"""What a policy is shown where an E-step serves several epochs."""

import pytest

from ahpcl.core import SlidingWindowPolicy
from ahpcl.core.schedule.signal_means import SignalMeans

EPOCHS = [(3.1, 20.3), (4.7, 31.9), (4.2, 22.6), (5.9, 35.0), (6.3, 24.4)]


def test_means_are_of_the_last_epochs():
    for length in (1, 2, 3, 9):
        means = SignalMeans(length)
        for number in range(len(EPOCHS)):
            last = EPOCHS[: number + 1][-length:]
            shown = means.add(*EPOCHS[number])
            for place in (0, 1):
                total = 0.0
                for epoch in last:
                    total += epoch[place]
                assert shown[place] == pytest.approx(total / len(last))


def test_with_every_epoch_they_are_its_own_to_the_bit():
    means = SignalMeans(1)
    assert [means.add(*epoch) for epoch in EPOCHS] == EPOCHS


def test_another_rung_begins_with_nothing():
    means = SignalMeans(2)
    means.add(1.0, 2.0)
    means.clear()
    assert means.add(3.0, 4.0) == (3.0, 4.0)


def test_state_goes_on_to_the_bit():
    means, again = SignalMeans(3), SignalMeans(3)
    for epoch in EPOCHS[:3]:
        means.add(*epoch)
    again.load_state_dict(means.state_dict())
    assert again.add(*EPOCHS[3]) == means.add(*EPOCHS[3])


def test_a_length_is_a_number_of_epochs():
    with pytest.raises(ValueError, match='length'):
        SignalMeans(0)


def test_a_classifier_that_starts_anew_is_no_end_of_growth():
    """Every second epoch is lower, while both kinds of epochs grow."""
    epochs = [(10 + 0.01 * n, 40 + n + 15 * (n % 2)) for n in range(10)]
    alone = SlidingWindowPolicy(length=2)
    actions = [alone.step(*e, epoch=0).action for e in epochs]
    assert 'advance' in actions
    policy, means = SlidingWindowPolicy(length=2), SignalMeans(2)
    shown = [means.add(*epoch) for epoch in epochs]
    assert {policy.step(*s, epoch=0).action for s in shown} == {'keep'}
