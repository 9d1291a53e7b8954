"""Loss weights and uniform draws against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ahpcl.core.clustering.cluster_weights import (
    inverse_size_weights,
    uniform_over_clusters,
)


def test_inverse_square_root_by_hand():
    found = inverse_size_weights(torch.tensor([1, 4, 16, 0]))
    total = 1 + 1 / 2 + 1 / 4
    expected = torch.tensor([1 / total, 0.5 / total, 0.25 / total, 0])
    torch.testing.assert_close(found, expected)


def test_powers():
    sizes = torch.tensor([2, 8])
    assert inverse_size_weights(sizes, 0).tolist() == [0.5, 0.5]
    torch.testing.assert_close(
        inverse_size_weights(sizes, 1.0), torch.tensor([0.8, 0.2])
    )
    assert inverse_size_weights(sizes * 0).tolist() == [0.5, 0.5]


def test_refuses_bad_weights():
    with pytest.raises(ValueError, match='power of at least 0'):
        inverse_size_weights(torch.tensor([1]), -1)
    with pytest.raises(ValueError, match='none negative'):
        inverse_size_weights(torch.tensor([1, -1]))


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    length=st.integers(1, 90),
    seed=st.integers(0, 99),
)
def test_draws_are_even(labels, length, seed):
    labels = torch.tensor(labels)
    generator = torch.Generator().manual_seed(seed)
    drawn = uniform_over_clusters(labels, 7, length, generator)
    assert len(drawn) == length
    assert set(drawn.tolist()) <= set(range(len(labels)))
    each = length // len(labels.unique()) + 1
    seen = np.bincount(labels[drawn].numpy(), minlength=7)
    assert seen.max() <= each
    # What is cut off at the end is at most one draw per cluster.
    sizes = np.bincount(labels.numpy(), minlength=7)
    cut = each * (sizes > 0).sum() - length
    assert ((each - seen[sizes > 0]).sum()) == cut
    times = np.bincount(drawn.numpy(), minlength=len(labels))
    for label in range(7):
        if sizes[label] > each:
            assert times[labels.numpy() == label].max() <= 1


def test_every_image_of_a_cluster_is_as_likely():
    labels = torch.tensor([0] * 8 + [1] * 2)
    times = torch.zeros(10)
    for seed in range(1500):
        generator = torch.Generator().manual_seed(seed)
        drawn = uniform_over_clusters(labels, 2, 10, generator)
        times += torch.bincount(drawn, minlength=10)
    times /= 1500
    # Half of the ten draws go to either cluster.
    torch.testing.assert_close(
        times, torch.tensor([5 / 8] * 8 + [5 / 2] * 2), atol=0.1, rtol=0
    )


def test_draws_depend_on_the_generator_alone():
    labels = torch.arange(30) % 4
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    one, two = (
        uniform_over_clusters(
            labels, 4, 30, torch.Generator().manual_seed(seed)
        )
        for seed in (5, 5)
    )
    other = uniform_over_clusters(
        labels, 4, 30, torch.Generator().manual_seed(6)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_refuses_labels_out_of_range():
    generator = torch.Generator()
    with pytest.raises(ValueError, match='from 0 to 2, got 0 to 3'):
        uniform_over_clusters(torch.tensor([0, 3]), 3, 2, generator)
    with pytest.raises(ValueError, match='at least one image'):
        uniform_over_clusters(torch.tensor([], dtype=int), 3, 2, generator)
