import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ahpcl.core.clustering.balance import balanced_assignment, size_bounds
from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.settings import KMeansSettings


def random_cost(n, k, kind, seed):
    generator = torch.Generator().manual_seed(seed)
    if kind == 'uniform':
        return torch.rand(n, k, generator=generator)
    if kind == 'ties':
        return torch.randint(0, 3, (n, k), generator=generator).float()
    if kind == 'constant':
        return torch.ones(n, k)
    if kind == 'skewed':  # nearly everybody wants the first cluster
        cost = torch.rand(n, k, generator=generator)
        cost[:, 0] -= 5
        return cost
    x = F.normalize(torch.randn(n, 4, generator=generator), dim=1)
    return torch.cdist(x, x[torch.arange(k) % n]) ** 2 * 1e3


KINDS = ['uniform', 'ties', 'constant', 'skewed', 'points']


@settings(deadline=None, max_examples=150)
@given(
    n=st.integers(1, 80),
    k=st.integers(1, 20),
    kind=st.sampled_from(KINDS),
    balance=st.sampled_from([1.0, 1.1, 1.5, 2.0, 10.0]),
    seed=st.integers(0, 3),
)
def test_sizes_are_within_the_bounds(n, k, kind, balance, seed):
    cost = random_cost(n, k, kind, seed)
    found = balanced_assignment(cost, balance)
    sizes = torch.bincount(found, minlength=k)
    assert len(sizes) == k
    assert sizes.min() >= math.floor(n / k / balance)
    assert sizes.max() <= math.ceil(n / k * balance)


def optimum(cost, lower, upper):
    """Exact, by a square assignment problem with forced and free seats."""
    from scipy.optimize import linear_sum_assignment

    n, k = cost.shape
    seats = np.repeat(np.arange(k), upper)
    forced = np.tile(np.arange(upper) < lower, k)
    table = np.zeros((len(seats), len(seats)))
    table[:n] = cost[:, seats]
    table[n:, forced] = 1e6  # a dummy may not take a seat that must be used
    rows, columns = linear_sum_assignment(table)
    return table[rows, columns].sum()


@pytest.mark.parametrize('kind', ['uniform', 'skewed', 'points'])
@pytest.mark.parametrize('balance', [1.0, 1.5])
@pytest.mark.parametrize(('n', 'k'), [(60, 6), (200, 10), (101, 25)])
def test_cost_is_near_the_optimum(kind, balance, n, k):
    cost = random_cost(n, k, kind, 1)
    cost = cost - cost.min()
    lower, upper = size_bounds(n, k, balance)
    best = optimum(cost.double().numpy(), lower, upper)
    found = balanced_assignment(cost, balance)
    ours = cost.gather(1, found[:, None]).double().sum().item()
    assert best - 1e-3 <= ours <= 1.02 * best


def test_loose_bounds_give_the_nearest():
    cost = random_cost(300, 5, 'points', 0)
    cost[:, :5] += 0.01 * torch.rand(5, generator=torch.Generator())
    free = cost.argmin(dim=1)
    sizes = torch.bincount(free, minlength=5)
    assert sizes.min() >= 300 / 5 / 4
    assert sizes.max() <= 300 / 5 * 4
    assert torch.equal(balanced_assignment(cost, 4.0), free)


def test_equal_sizes_exactly():
    found = balanced_assignment(random_cost(120, 8, 'skewed', 2))
    assert torch.bincount(found).tolist() == [15] * 8


def test_deterministic_and_does_not_touch_its_input():
    cost = random_cost(100, 7, 'points', 0)
    copy = cost.clone()
    first = balanced_assignment(cost, 1.2)
    assert torch.equal(first, balanced_assignment(cost, 1.2))
    assert torch.equal(cost, copy)


@pytest.mark.parametrize('balance', [1.0, 1.3, 3.0])
@pytest.mark.parametrize('spherical', [True, False])
def test_balanced_kmeans(balance, spherical):
    generator = torch.Generator().manual_seed(0)
    # One dense blob and a few scattered points: free k-means is uneven.
    blob = torch.randn(450, 8, generator=generator) * 0.1 + 1
    rest = torch.randn(53, 8, generator=generator)
    x = F.normalize(torch.cat([blob, rest]), dim=1)
    free = spherical_kmeans(x, 12, KMeansSettings(spherical=spherical))
    found = spherical_kmeans(
        x, 12, KMeansSettings(balance=balance, spherical=spherical)
    )
    lower, upper = size_bounds(503, 12, balance)
    sizes = torch.bincount(found.assignments, minlength=12)
    assert lower <= sizes.min() and sizes.max() <= upper
    free_sizes = torch.bincount(free.assignments, minlength=12)
    assert free_sizes.min() < lower or free_sizes.max() > upper
    expected = (x - found.centroids[found.assignments]).norm(dim=1)
    torch.testing.assert_close(found.distances, expected)
    assert found.objective == pytest.approx(
        expected.double().square().mean().item(), rel=1e-5
    )
    assert found.objective >= free.objective - 1e-6


def test_bad_input():
    with pytest.raises(ValueError, match='balance >= 1'):
        balanced_assignment(torch.rand(4, 2), 0.5)
    with pytest.raises(ValueError, match='balance >= 1'):
        spherical_kmeans(torch.rand(4, 2), 2, KMeansSettings(balance=math.nan))
    with pytest.raises(ValueError, match='shape'):
        balanced_assignment(torch.rand(4))
    with pytest.raises(ValueError, match='finite'):
        balanced_assignment(torch.tensor([[1.0, torch.nan]]))
    with pytest.raises(ValueError, match='either weights or balance'):
        spherical_kmeans(
            torch.rand(4, 2),
            2,
            KMeansSettings(balance=1.0),
            weights=torch.ones(4),
        )
