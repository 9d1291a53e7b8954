import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ahpcl.core.clustering.concentration import concentration


def slow(distances, assignments, k, tau=0.2, alpha=10.0, clip=(10, 90)):
    """The equation of the paper, cluster by cluster."""
    phi = [None] * k
    for j in range(k):
        own = [
            d for d, a in zip(distances, assignments, strict=True) if a == j
        ]
        if len(own) > 1:
            phi[j] = sum(own) / len(own) / math.log(len(own) + alpha)
    largest = max((p for p in phi if p is not None), default=0.0)
    phi = np.array([largest if p is None else p for p in phi])
    phi = np.clip(phi, *np.percentile(phi, clip))
    if phi.mean() == 0:
        return np.full(k, tau)
    return np.maximum(tau * phi / phi.mean(), 1e-3 * tau)


@settings(deadline=None, max_examples=150)
@given(
    points=st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from([0.0, 0.1, 0.7, 1.9])),
        min_size=1,
        max_size=40,
    ),
    clip=st.sampled_from([(10, 90), (0, 100), (25, 50)]),
    alpha=st.sampled_from([1.0, 10.0]),
)
def test_against_a_slow_loop(points, clip, alpha):
    assignments = [a for a, _ in points]
    distances = [d for _, d in points]
    found = concentration(
        torch.tensor(distances),
        torch.tensor(assignments),
        8,
        temperature=0.3,
        alpha=alpha,
        clip=clip,
    )
    expected = slow(distances, assignments, 8, 0.3, alpha, clip)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    assert (found > 0).all()


def test_two_clusters_by_hand():
    distances = torch.tensor([0.2, 0.4, 0.5, 0.5, 0.5])
    found = concentration(
        distances, torch.tensor([0, 0, 1, 1, 1]), 2, clip=(0, 100)
    )
    a, b = 0.3 / math.log(12), 0.5 / math.log(13)
    mean = (a + b) / 2
    assert found.tolist() == pytest.approx([0.2 * a / mean, 0.2 * b / mean])


def test_mean_is_the_temperature():
    generator = torch.Generator().manual_seed(0)
    assignments = torch.randint(0, 50, (4000,), generator=generator)
    distances = torch.rand(4000, generator=generator)
    found = concentration(distances, assignments, 50, temperature=0.07)
    assert found.mean().item() == pytest.approx(0.07, rel=1e-5)
    assert found.dtype == torch.float32


def test_single_points_and_empty_clusters_take_the_largest():
    distances = torch.tensor([0.1, 0.1, 0.9, 0.9, 0.0])
    found = concentration(
        distances, torch.tensor([0, 0, 1, 1, 2]), 4, clip=(0, 100)
    )
    assert found[2] == found[1] == found[3] > found[0]


@pytest.mark.parametrize('k', [1, 3, 6])
def test_all_distances_zero(k):
    found = concentration(torch.zeros(6), torch.arange(6) % k, k)
    assert found.tolist() == pytest.approx([0.2] * k)


def test_every_cluster_a_single_point():
    found = concentration(torch.rand(5), torch.arange(5), 5)
    assert found.tolist() == pytest.approx([0.2] * 5)


def test_floor_keeps_it_above_zero():
    distances = torch.tensor([0.0, 0.0, 1.0, 1.0])
    found = concentration(
        distances, torch.tensor([0, 0, 1, 1]), 2, clip=(0, 100)
    )
    assert found.tolist() == pytest.approx([2e-4, 0.4])


def test_extremes_cut_off_by_the_percentiles_give_the_temperature():
    distances = torch.zeros(200)
    distances[:2] = 1.0
    found = concentration(distances, torch.arange(200) // 2, 100)
    assert found.tolist() == pytest.approx([0.2] * 100)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'distances': torch.tensor([0.1, -0.1])}, '>= 0'),
        ({'distances': torch.tensor([0.1, torch.nan])}, 'finite'),
        ({'distances': torch.rand(3)}, 'one shape'),
        ({'assignments': torch.tensor([0, 2])}, 'from 0 to 1, got 0 to 2'),
        ({'assignments': torch.tensor([0.0, 1.0])}, 'int64'),
        ({'num_clusters': 0}, 'num_clusters'),
        ({'temperature': 0.0}, 'temperature'),
        ({'alpha': 0.0}, 'alpha'),
        ({'clip': (90, 10)}, 'percentiles'),
    ],
)
def test_bad_input(change, message):
    arguments = {
        'distances': torch.rand(2),
        'assignments': torch.tensor([0, 1]),
        'num_clusters': 2,
    }
    with pytest.raises(ValueError, match=message):
        concentration(**{**arguments, **change})


def test_negative_assignment_is_refused():
    with pytest.raises(ValueError, match='got -1 to 0'):
        concentration(torch.rand(2), torch.tensor([0, -1]), 2)
