"""Equal use of prototypes: an obvious loop, marginals, optimality."""

import itertools

import numpy as np
import pytest
import torch

from ahpcl.core import equal_labels, sinkhorn


def by_loops(scores, epsilon, n_iter):
    """Sinkhorn and Knopp on plain numbers: columns, then rows."""
    codes = np.exp(scores.double().numpy() / epsilon)
    for _ in range(n_iter):
        for column in range(codes.shape[1]):
            codes[:, column] /= codes[:, column].sum() * codes.shape[1]
        for row in range(codes.shape[0]):
            codes[row] /= codes[row].sum() * codes.shape[0]
    return torch.from_numpy(codes * codes.shape[0])


@pytest.fixture
def scores():
    return torch.rand(30, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('n_iter', [1, 3, 10])
def test_equals_an_obvious_loop(scores, n_iter):
    found = sinkhorn(scores, epsilon=0.1, n_iter=n_iter)
    expected = by_loops(scores, 0.1, n_iter).float()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_converges_to_both_marginals(scores):
    codes = sinkhorn(scores.double(), epsilon=0.1, n_iter=500)
    ones = torch.ones(30, dtype=torch.float64)
    torch.testing.assert_close(codes.sum(1), ones)
    torch.testing.assert_close(codes.sum(0), ones[:5] * 6)


def test_small_epsilon_and_half_precision_stay_finite(scores):
    scores = torch.cat([scores, scores.new_zeros(30, 1) - 50], dim=1)
    codes = sinkhorn(scores.bfloat16(), epsilon=0.001, n_iter=50)
    assert codes.dtype == torch.float32
    assert torch.isfinite(codes).all()
    torch.testing.assert_close(codes.sum(1), torch.ones(30))
    assert codes[:, 5].sum() > 1  # used, though it is far from all


def test_a_reduction_over_two_halves_equals_the_whole(scores):
    """Two ranks in lockstep, their reductions done by hand."""
    import threading

    barrier = threading.Barrier(2)
    slots = [None, None]
    found = [None, None]

    def rank(number):
        def reduce(values, operation):
            slots[number] = values
            barrier.wait()
            both = torch.stack(list(slots))
            barrier.wait()
            return both.amax(0) if operation == 'max' else both.sum(0)

        half = scores.chunk(2)[number]
        found[number] = sinkhorn(half, epsilon=0.02, reduce=reduce)

    threads = [threading.Thread(target=rank, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.testing.assert_close(
        torch.cat(found), sinkhorn(scores, epsilon=0.02)
    )


def test_labels_are_the_best_of_equal_sizes():
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(6, 3, generator=generator)
    best = max(
        (
            labels
            for labels in itertools.product(range(3), repeat=6)
            if np.bincount(labels, minlength=3).tolist() == [2, 2, 2]
        ),
        key=lambda labels: float(scores[range(6), list(labels)].sum()),
    )
    found = equal_labels(scores, power=50, max_iter=5000, tolerance=1e-4)
    assert found.tolist() == list(best)


def test_labels_are_of_nearly_equal_size(monkeypatch):
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(1000, 10, generator=generator)
    scores[:, 0] += 3  # all would like the first
    plain = torch.bincount(scores.argmax(1), minlength=10)
    assert plain[0] > 700
    found = equal_labels(scores, power=10, tolerance=0.01, max_iter=2000)
    sizes = torch.bincount(found, minlength=10)
    assert sizes.min() > 90 and sizes.max() < 110
    # Visited in parts, the same.
    monkeypatch.setattr('ahpcl.core.clustering.equal_codes._ROWS', 64)
    again = equal_labels(scores, power=10, tolerance=0.01, max_iter=2000)
    assert torch.equal(found, again)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(epsilon=0.0), 'epsilon'),
        (dict(epsilon=float('nan')), 'epsilon'),
        (dict(n_iter=0), 'n_iter'),
    ],
)
def test_bad_settings(scores, settings, message):
    with pytest.raises(ValueError, match=message):
        sinkhorn(scores, **settings)


def test_bad_scores(scores):
    with pytest.raises(ValueError, match='shape'):
        sinkhorn(scores[0])
    with pytest.raises(ValueError, match='got 5 for 30'):
        equal_labels(scores.t())
    for settings in (dict(power=0), dict(tolerance=0), dict(max_iter=0)):
        with pytest.raises(ValueError, match=next(iter(settings))):
            equal_labels(scores, **settings)
