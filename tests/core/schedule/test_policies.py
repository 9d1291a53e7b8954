"""Tables of (signals -> decisions), worked out by hand from the rules."""

import dataclasses
import json
import math
import random

import numpy as np
import pytest

from ahpcl.core.schedule.policies import (
    Decision,
    FixedPolicy,
    PlateauPolicy,
    SlidingWindowPolicy,
    StabilityPolicy,
)

K, R, A = 'keep', 'raise_threshold', 'advance'


def play(policy, table, rungs=(40, 20, 10), start=0):
    """Step through rows (acc_inst, acc_proto, action, words of reason)."""
    for epoch, (inst, proto, action, *words) in enumerate(table, start):
        decision = policy.step(inst, proto, epoch, rungs=rungs)
        assert decision.action == action, (epoch, decision)
        for word in words:
            assert word in decision.reason, (epoch, decision)


def every_policy(**limits):
    return [
        SlidingWindowPolicy(length=2, **limits),
        PlateauPolicy(**limits),
        FixedPolicy(3, **limits),
        StabilityPolicy(**limits),
    ]


def test_decision_is_frozen():
    decision = Decision('keep', 'why')
    with pytest.raises(dataclasses.FrozenInstanceError):
        decision.action = 'advance'


# -- sliding window ---------------------------------------------------------


def test_sliding_window_every_branch():
    policy = SlidingWindowPolicy(length=2, threshold=0.1)
    play(
        policy,
        [
            (50.0, 30.0, K, '0 of 2'),  # nothing to compare with
            (40.0, 20.0, K, '1 of 2'),
            # memory: (50, 30), (40, 20)
            (10.0, 31.0, K, '31.00', '30.00'),  # proto grows, inst falls
            # memory: (40, 20), (10, 31)
            (46.0, 31.0, R, '15.00%', '10.00%'),  # a tie is no growth
        ],
    )
    assert policy.threshold == pytest.approx(0.15)
    play(
        policy,
        [
            # memory: (10, 31), (46, 31); 53 is 15.2 % above 46
            (53.0, 30.0, R, '15.22%'),
            # memory: (46, 31), (53, 30); threshold 0.225
            (53.0, 29.0, A, '0.00%', '22.50%'),
        ],
        start=4,
    )
    assert policy.threshold == pytest.approx(0.1 * 0.99**5)
    # The memory is empty, the epoch of the advance included.
    play(
        policy,
        [
            (10.0, 10.0, K, '0 of 2'),
            (10.0, 10.0, K, '1 of 2'),
            (5.0, 5.0, A),
        ],
        start=6,
    )
    assert policy.threshold == pytest.approx(0.1 * 0.99**8)


def test_sliding_window_defaults_compare_with_five_epochs():
    policy = SlidingWindowPolicy()
    assert policy.threshold == 0.01
    play(
        policy,
        [
            (60.0, 60.0, K),
            (50.0, 50.0, K),
            (50.0, 50.0, K),
            (50.0, 50.0, K),
            (50.0, 50.0, K, '4 of 5'),
            # The first epoch is still remembered: 55 does not exceed 60.
            (50.0, 60.0, A),
        ],
    )
    policy = SlidingWindowPolicy()
    play(policy, [(60.0, 60.0, K)] + [(50.0, 50.0, K)] * 4)
    play(policy, [(50.0, 61.0, K)], start=5)
    # Now it is forgotten: the best acc_inst is 50 and 50.6 gains 1.2 %.
    play(policy, [(50.6, 61.0, R, '1.20%')], start=6)
    assert policy.threshold == pytest.approx(0.015)


def test_gain_equal_to_the_threshold_advances():
    policy = SlidingWindowPolicy(length=1, threshold=0.5)
    play(policy, [(50.0, 10.0, K), (75.0, 10.0, A)])
    policy = SlidingWindowPolicy(length=1, threshold=0.5)
    play(policy, [(50.0, 10.0, K), (75.5, 10.0, R)])


def test_threshold_is_reset_from_the_initial_one():
    policy = SlidingWindowPolicy(
        length=1, threshold=0.2, growth=2.0, relax=0.5
    )
    play(policy, [(10.0, 9.0, K), (20.0, 9.0, R), (40.0, 9.0, R)])
    assert policy.threshold == pytest.approx(0.8)
    play(policy, [(40.0, 9.0, A)], start=3)
    assert policy.threshold == pytest.approx(0.2 * 0.5**3)


def test_gain_from_zero():
    policy = SlidingWindowPolicy(length=1)
    play(policy, [(0.0, 5.0, K), (0.0, 5.0, A, '0.00%')])
    policy = SlidingWindowPolicy(length=1)
    play(policy, [(0.0, 5.0, K), (0.1, 5.0, R), (0.1, 5.0, A)])


# -- plateau ----------------------------------------------------------------


def test_plateau_every_branch():
    play(
        PlateauPolicy(min_gain=0.1),
        [
            (50.0, 50.0, K, 'first epoch'),
            (60.0, 60.0, K),  # both grow
            (61.0, 90.0, K, '+1.67%', '+50.00%'),  # one grows
            (80.0, 91.0, K),  # the other grows
            (88.0, 91.0, K),  # exactly 10 % is not less
            (89.0, 80.0, A, '+1.14%', '-12.09%'),
            # A new rung has no previous epoch.
            (89.0, 80.0, K, 'first epoch'),
            (89.0, 80.0, A),
        ],
    )


def test_plateau_compares_with_the_previous_epoch_alone():
    play(
        PlateauPolicy(min_gain=0.1),
        [(80.0, 80.0, K), (40.0, 100.0, K), (50.0, 40.0, K)],
    )


def test_plateau_from_zero():
    play(PlateauPolicy(), [(0.0, 0.0, K), (0.0, 0.1, K), (0.0, 0.1, A)])


# -- fixed ------------------------------------------------------------------


def test_fixed():
    play(
        FixedPolicy(3),
        [(1.0, 1.0, K, '1 of 3'), (90.0, 1.0, K), (0.0, 0.0, A)] * 3,
    )
    play(FixedPolicy(1), [(1.0, 1.0, A)] * 3)


def test_fixed_by_a_rule_of_k():
    policy = FixedPolicy([(1, 1), (100, 2)])
    play(policy, [(1, 1, K), (1, 1, A)], rungs=(10, 100))
    play(policy, [(1, 1, A)] * 2, rungs=(100, 99))
    # Below the smallest K_from there is no number: the rung stays.
    play(FixedPolicy([(100, 1)]), [(1, 1, K, 'unlimited')] * 9, rungs=(99,))


# -- stability --------------------------------------------------------------


def test_stability():
    policy = StabilityPolicy(agreement=0.9)
    assert policy.needs_agreement
    for epoch, (agreement, action, word) in enumerate(
        [
            (None, K, 'no earlier'),
            (0.1, K, '0.1000'),
            (0.8999, K, '0.9000'),
            (0.9, A, '0.9000'),
            (None, K, 'no earlier'),
            (-0.001, K, '-0.0010'),
            (1.0, A, '1.0000'),
        ]
    ):
        decision = policy.step(5.0, 5.0, epoch, agreement=agreement)
        assert decision.action == action
        assert word in decision.reason


def test_only_stability_needs_agreement():
    flags = [p.needs_agreement for p in every_policy()]
    assert flags == [False, False, False, True]


# -- limits per rung --------------------------------------------------------


def test_max_epochs_advances_every_policy():
    for policy in (
        SlidingWindowPolicy(max_epochs=2),
        PlateauPolicy(max_epochs=2),
        FixedPolicy(9, max_epochs=2),
        StabilityPolicy(max_epochs=2),
    ):
        table = [
            (10.0, 10.0, K),
            (50.0, 50.0, A, 'max_epochs 2'),
        ]
        play(policy, table + table)


def test_min_epochs_keeps_but_remembers():
    policy = SlidingWindowPolicy(length=1, min_epochs=4)
    play(
        policy,
        [
            (50.0, 90.0, K, 'min_epochs 4'),
            (90.0, 10.0, K, 'min_epochs 4'),  # would raise: it does not
            (10.0, 10.0, K, 'min_epochs 4'),  # would advance
        ],
    )
    assert policy.threshold == 0.01
    # The third epoch is remembered: 11 gains 10 % over its 10.
    play(policy, [(11.0, 10.0, R, '10.00%')], start=3)
    policy = PlateauPolicy(min_epochs=3)
    play(policy, [(10.0, 10.0, K), (20.0, 20.0, K), (20.0, 20.0, A)])
    play(FixedPolicy(1, min_epochs=2), [(1.0, 1.0, K), (1.0, 1.0, A)])
    policy = StabilityPolicy(min_epochs=2)
    assert policy.step(1, 1, 0, agreement=1.0).action == K
    assert policy.step(1, 1, 1, agreement=1.0).action == A


def test_max_epochs_empties_the_memory_and_relaxes_the_threshold():
    policy = SlidingWindowPolicy(length=1, threshold=0.1, max_epochs=3)
    play(policy, [(10.0, 9.0, K), (20.0, 9.0, R), (40.0, 9.0, A)], start=10)
    assert policy.threshold == pytest.approx(0.1 * 0.99**12)
    assert policy.state_dict()['acc_inst'] == []
    assert policy.state_dict()['stay'] == 0


@pytest.mark.parametrize(
    'rule',
    [
        lambda k: 3 if k >= 100 else 1,
        [(1, 1), (100, 3)],
        [[100, 3], [1, 1]],  # any order, lists as a config has them
        ((1, 1), (100, 3), (5000, 9)),
    ],
)
def test_rules_of_k_go_by_the_newest_rung(rule):
    policy = FixedPolicy(1, min_epochs=rule)
    play(policy, [(1, 1, K), (1, 1, K), (1, 1, A)], rungs=(10, 100))
    play(policy, [(1, 1, A)] * 2, rungs=(200, 99))
    policy = FixedPolicy(9, max_epochs=rule)
    play(policy, [(1, 1, K), (1, 1, K), (1, 1, A)], rungs=(10, 100))
    play(policy, [(1, 1, A)] * 2, rungs=(200, 99))


def test_below_the_smallest_k_from_there_is_no_limit():
    policy = FixedPolicy(9, max_epochs=[(100, 2)])
    play(policy, [(1, 1, K)] * 8 + [(1, 1, A)], rungs=(99,))


def test_a_rule_of_k_needs_rungs():
    policy = FixedPolicy(1, min_epochs=[(1, 2)])
    with pytest.raises(ValueError, match=r'min_epochs.*rungs=ladder.current'):
        policy.step(1, 1, 0)
    assert FixedPolicy(1, min_epochs=1).step(1, 1, 0).action == A


@pytest.mark.parametrize(
    ('limits', 'message'),
    [
        ({'min_epochs': 0}, 'min_epochs >= 1, got 0'),
        ({'max_epochs': -1}, 'max_epochs >= 1, got -1'),
        ({'max_epochs': 2.5}, 'max_epochs.*whole number, got 2.5'),
        ({'max_epochs': True}, 'got True'),
        ({'min_epochs': 5, 'max_epochs': 3}, 'got 5 and 3$'),
        (
            {'min_epochs': [(1, 2), (50, 9)], 'max_epochs': 8},
            'got 9 and 8 at 50 clusters',
        ),
        (
            {'min_epochs': [(10, 4)], 'max_epochs': [(1, 5), (400, 3)]},
            'got 4 and 3 at 400 clusters',
        ),
        ({'min_epochs': []}, r'every K_from once.*got \[\]'),
        ({'min_epochs': [(1, 2), (1, 3)]}, 'every K_from once'),
        ({'min_epochs': [(0, 2)]}, 'K_from of min_epochs >= 1, got 0'),
        ({'min_epochs': [(1, 0)]}, 'min_epochs >= 1, got 0'),
        ({'min_epochs': [3, 4]}, 'pairs'),
        ({'min_epochs': '3'}, "got '3'"),
    ],
)
def test_bad_limits_are_refused_at_construction(limits, message):
    for build in (
        SlidingWindowPolicy,
        PlateauPolicy,
        lambda **limits: FixedPolicy(3, **limits),
        StabilityPolicy,
    ):
        with pytest.raises(ValueError, match=message):
            build(**limits)


def test_bad_values_of_a_function_are_refused_when_it_is_asked():
    policy = FixedPolicy(1, max_epochs=lambda k: k - 10)
    with pytest.raises(ValueError, match='max_epochs at 10'):
        policy.step(1, 1, 0, rungs=(10,))
    policy = FixedPolicy(1, min_epochs=5, max_epochs=lambda k: 3)
    with pytest.raises(ValueError, match='5 and 3 at 10'):
        policy.step(1, 1, 0, rungs=(10,))


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: SlidingWindowPolicy(length=0), 'length >= 1, got 0'),
        (lambda: SlidingWindowPolicy(threshold=-1), 'threshold.*got -1'),
        (lambda: SlidingWindowPolicy(threshold=math.nan), 'got nan'),
        (lambda: SlidingWindowPolicy(growth=0.9), 'growth.*got 0.9'),
        (lambda: SlidingWindowPolicy(relax=1.1), 'from 0 to 1, got 1.1'),
        (lambda: SlidingWindowPolicy(relax=0), 'relax above 0'),
        (lambda: PlateauPolicy(min_gain=-0.1), 'min_gain.*got -0.1'),
        (lambda: FixedPolicy(0), 'epochs >= 1, got 0'),
        (lambda: FixedPolicy(None), 'got None'),
        (lambda: StabilityPolicy(agreement=95), 'from 0 to 1, got 95'),
        (lambda: StabilityPolicy(agreement=0), 'above 0'),
    ],
)
def test_bad_settings(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ('signals', 'message'),
    [
        ((math.nan, 5.0, 0), 'acc_inst.*got nan'),
        ((5.0, math.inf, 0), 'acc_proto.*got inf'),
        ((-1.0, 5.0, 0), 'acc_inst.*from 0 to 100.*got -1'),
        ((5.0, 101.0, 0), 'acc_proto.*got 101'),
        ((5.0, 5.0, -1), 'epoch >= 0, got -1'),
        ((5.0, 5.0, 0.5), 'epoch.*whole number, got 0.5'),
    ],
)
def test_bad_signals_are_refused_and_not_remembered(signals, message):
    for policy in every_policy():
        policy.step(1.0, 1.0, 0)
        before = policy.state_dict()
        with pytest.raises(ValueError, match=message):
            policy.step(*signals)
        assert policy.state_dict() == before
    with pytest.raises(ValueError, match=r'agreement.*got nan'):
        StabilityPolicy().step(5, 5, 0, agreement=math.nan)


def test_means_that_exceed_100_by_rounding_are_accepted():
    assert FixedPolicy(1).step(100.00001, 100.0, 0).action == A


# -- state ------------------------------------------------------------------


def noise(epochs, seed):
    generator = random.Random(seed)
    for epoch in range(epochs):
        yield (
            generator.uniform(40, 60),
            generator.uniform(40, 60),
            epoch,
            generator.choice([None, 0.5, 0.97]),
        )


def test_a_twin_continues_exactly():
    """State through JSON at every epoch gives the same later decisions."""
    policies = every_policy(min_epochs=[(1, 2)], max_epochs=9)
    twins = every_policy(min_epochs=[(1, 2)], max_epochs=9)
    for policy, twin in zip(policies, twins, strict=True):
        actions = []
        for inst, proto, epoch, agreement in noise(60, seed=3):
            state = json.loads(json.dumps(policy.state_dict()))
            twin = type(policy)(  # a fresh one in every epoch
                **(
                    {'length': 2}
                    if isinstance(policy, SlidingWindowPolicy)
                    else {'epochs': 3}
                    if isinstance(policy, FixedPolicy)
                    else {}
                ),
                min_epochs=[(1, 2)],
                max_epochs=9,
            )
            twin.load_state_dict(state)
            arguments = (inst, proto, epoch)
            more = {'rungs': (10,), 'agreement': agreement}
            decision = policy.step(*arguments, **more)
            assert twin.step(*arguments, **more) == decision
            assert twin.state_dict() == policy.state_dict()
            actions.append(decision.action)
        assert K in actions and A in actions


def test_a_state_is_a_copy():
    policy = SlidingWindowPolicy(length=2)
    policy.step(1, 1, 0)
    state = policy.state_dict()
    policy.step(2, 2, 1)
    assert state['acc_inst'] == [1.0]
    assert state['stay'] == 1


def test_state_of_a_longer_window_keeps_the_newest():
    policy = SlidingWindowPolicy(length=3)
    for epoch in range(3):
        policy.step(epoch, epoch, epoch)
    twin = SlidingWindowPolicy(length=2)
    twin.load_state_dict(policy.state_dict())
    assert twin.state_dict()['acc_inst'] == [1.0, 2.0]


def test_state_of_another_policy_is_refused():
    with pytest.raises(ValueError, match=r'PlateauPolicy.*previous'):
        PlateauPolicy().load_state_dict(SlidingWindowPolicy().state_dict())


def test_state_is_plain_numbers():
    policy = SlidingWindowPolicy(length=1)
    policy.step(np.float64(3.0), np.float32(4.0), np.int64(0))
    for value in policy.state_dict().values():
        for item in value if isinstance(value, list) else [value]:
            assert type(item) in (int, float)


# -- how long a ladder takes ------------------------------------------------


@pytest.mark.parametrize(
    ('policy', 'expected'),
    [
        (SlidingWindowPolicy(), (18, None)),
        (SlidingWindowPolicy(max_epochs=10), (18, 30)),
        (SlidingWindowPolicy(max_epochs=4), (12, 12)),
        (SlidingWindowPolicy(min_epochs=8), (24, None)),
        (SlidingWindowPolicy(min_epochs=[(40, 9)]), (21, None)),
        (SlidingWindowPolicy(max_epochs=[(20, 7)]), (18, None)),
        (PlateauPolicy(max_epochs=5), (6, 15)),
        (FixedPolicy(4), (12, 12)),
        (FixedPolicy(4, min_epochs=6), (18, 18)),
        (FixedPolicy(4, max_epochs=3), (9, 9)),
        (FixedPolicy([(10, 1), (40, 5)]), (7, 7)),
        (FixedPolicy([(40, 5)]), (7, None)),
        (StabilityPolicy(max_epochs=6), (4, 18)),
        (StabilityPolicy(min_epochs=3), (9, None)),
    ],
)
def test_epochs_needed(policy, expected):
    assert policy.epochs_needed([40, 20, 10]) == expected
    assert policy.epochs_needed([]) == (0, 0)
    assert policy.state_dict()['stay'] == 0


def test_epochs_needed_bounds_what_happens():
    """Play noise and steady growth; the last advance is within bounds."""
    stays = [40, 20, 10]
    limits = {'min_epochs': [(1, 1), (40, 4)], 'max_epochs': 6}
    for make in range(4):
        lengths = []
        for seed in range(60):
            policy = every_policy(**limits)[make]
            fewest, most = policy.epochs_needed(stays)
            done = 0
            for inst, proto, epoch, agreement in noise(99, seed):
                if seed == 0:  # steady growth
                    inst = proto = 1.5**epoch / 1.5**99
                    agreement = 0.5
                if seed == 1:  # nothing moves
                    inst = proto = 50.0
                    agreement = 1.0 if epoch else None
                decision = policy.step(
                    inst,
                    proto,
                    epoch,
                    rungs=(stays[done],),
                    agreement=agreement,
                )
                done += decision.action == A
                if done == len(stays):
                    lengths.append(epoch + 1)
                    break
        assert fewest == min(lengths) and most == max(lengths)
