"""ODC's memories against loops over images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ahpcl.core.clustering.online_clustering import (
    absorb_small_clusters,
    fill_empty_clusters,
    first_of_each,
    nearest_by_product,
    renew_rows,
    scaled_rows,
    update_centroids,
)


def rows(count, size=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator)


def unit(row):
    return row / np.sqrt((row**2).sum())


def test_moving_average_row_by_row():
    old, new = scaled_rows(rows(6)), 3 * rows(6, seed=1)
    found = renew_rows(old, new, 0.3)
    for before, now, got in zip(old, new, found, strict=True):
        before, now = before.double().numpy(), now.double().numpy()
        expected = unit(0.7 * before + 0.3 * unit(now))
        np.testing.assert_allclose(got, expected, atol=1e-6)
    assert torch.equal(scaled_rows(torch.zeros(1, 3)), torch.zeros(1, 3))


def test_nearest_takes_the_length_of_centroids_into_account():
    centroids = torch.tensor([[0.3, 0.0], [0.5, 0.5]])
    row = torch.tensor([[1.0, 0.1]])
    # Nearest by angle is the first, by product the second: .3 against .55.
    assert nearest_by_product(row, centroids).tolist() == [1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_first_occurrences(indices):
    expected = [
        i for i, value in enumerate(indices) if value not in indices[:i]
    ]
    assert first_of_each(torch.tensor(indices)).tolist() == expected


def test_centroids_are_means_and_empty_ones_stay():
    features, labels = rows(30), torch.arange(30) % 3
    labels[labels == 1] = 3  # cluster 1 is empty
    before = rows(4, seed=2)
    kept = before.clone()
    found = update_centroids(before, features, labels)
    for cluster in (0, 2, 3):
        mean = features[labels == cluster].double().numpy().mean(axis=0)
        np.testing.assert_allclose(found[cluster], mean, atol=1e-6)
    assert torch.equal(found[1], before[1])
    some = update_centroids(before, features, labels, torch.tensor([3, 1]))
    assert torch.equal(some[[0, 1, 2]], before[[0, 1, 2]])
    assert torch.equal(some[3], found[3])
    assert torch.equal(before, kept)


def test_small_clusters_go_to_the_nearest_of_the_others():
    features, centroids = rows(60), rows(6, seed=3)
    generator = torch.Generator().manual_seed(4)
    labels = torch.randint(0, 3, (60,), generator=generator)
    labels[:4], labels[4:9] = 3, 4  # 5 is empty
    kept = labels.clone()
    found, empty = absorb_small_clusters(features, labels, centroids, 6)
    assert empty.tolist() == [3, 4, 5]
    for index in range(60):
        expected = int(labels[index])
        if expected > 2:
            scores = [float(features[index] @ centroids[c]) for c in range(3)]
            expected = int(np.argmax(scores))
        assert int(found[index]) == expected
    assert torch.equal(labels, kept)


def test_nothing_is_small():
    labels = torch.arange(12) % 3
    found, empty = absorb_small_clusters(rows(12), labels, rows(3), 4)
    assert torch.equal(found, labels)
    assert len(empty) == 0


def test_all_small_is_an_error():
    labels = torch.arange(12) % 3
    with pytest.raises(ValueError, match=r'got 4 at most.*up to 4'):
        absorb_small_clusters(rows(12), labels, rows(3), 5)


def test_the_largest_is_split_into_its_two_groups():
    generator = torch.Generator().manual_seed(0)
    axes = torch.eye(4)
    groups = torch.tensor([0] * 11 + [1] * 7 + [2] * 9)
    noise = 0.05 * torch.randn(27, 4, generator=generator)
    features = scaled_rows(axes[groups] + noise)
    labels = torch.where(groups == 2, 1, 0)  # 0 holds two groups, 2 is empty
    centroids = update_centroids(torch.zeros(3, 4), features, labels)
    found, moved = fill_empty_clusters(
        features, labels, centroids, torch.tensor([2]), seed=0
    )
    # The larger part keeps its label.
    expected = torch.tensor([0] * 11 + [2] * 7 + [1] * 9)
    assert torch.equal(found, expected)
    for cluster in (0, 2):
        torch.testing.assert_close(
            moved[cluster], features[expected == cluster].mean(0)
        )
    assert torch.equal(moved[1], centroids[1])
    assert labels.tolist() == [0] * 18 + [1] * 9


def test_several_empty_clusters_split_the_largest_at_their_turn():
    # Sizes 8, 4, 2: halves of 8 are 4 and 4; then the first of size 4, ...
    generator = torch.Generator().manual_seed(1)
    axes = torch.eye(6)
    groups = torch.tensor([0] * 5 + [1] * 3 + [2] * 3 + [3] * 1 + [4] * 2)
    noise = 0.01 * torch.randn(14, 6, generator=generator)
    features = scaled_rows(axes[groups] + noise)
    labels = torch.tensor([0] * 8 + [1] * 4 + [2] * 2)
    found, _ = fill_empty_clusters(
        features, labels, torch.zeros(5, 6), torch.tensor([3, 4]), seed=0
    )
    # 8 -> 5 and 3; the largest is then the 5, of one group, cut anywhere.
    assert found[5:8].tolist() == [3] * 3
    assert found[8:].tolist() == labels[8:].tolist()
    assert set(found[:5].tolist()) == {0, 4}
    again, _ = fill_empty_clusters(
        features, labels, torch.zeros(5, 6), torch.tensor([3, 4]), seed=0
    )
    assert torch.equal(found, again)


def test_collapsed_features_are_cut_in_two():
    features = torch.ones(7, 3) / 3**0.5
    labels = torch.zeros(7, dtype=torch.long)
    found, centroids = fill_empty_clusters(
        features, labels, torch.zeros(3, 3), torch.tensor([1, 2]), seed=0
    )
    assert sorted(torch.bincount(found).tolist()) == [2, 2, 3]
    torch.testing.assert_close(centroids, features[:3])
