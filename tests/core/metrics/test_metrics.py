import itertools

import pytest
import torch
from sklearn import metrics as judge

from ahpcl.core.metrics import (
    class_shares,
    cluster_sizes,
    clustering_agreement,
    hungarian_accuracy,
    pair_precision,
    purity,
    topk_accuracy,
)


def groupings(num=40, a=4, b=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randint(a, (num,), generator=generator),
        torch.randint(b, (num,), generator=generator),
    )


# -- top-k ------------------------------------------------------------------


@pytest.mark.parametrize('k', [1, 2, 5, 10])
def test_topk_parity_with_scikit_learn(k):
    generator = torch.Generator().manual_seed(k)
    scores = torch.randn(200, 10, generator=generator)
    labels = torch.randint(10, (200,), generator=generator)
    expected = 100 * judge.top_k_accuracy_score(
        labels.numpy(), scores.numpy(), k=k, labels=range(10)
    )
    got = topk_accuracy(scores, labels, k)
    assert got.ndim == 0
    assert got.item() == pytest.approx(expected, abs=1e-4)


def test_topk_ties_and_nan_are_not_right():
    scores = torch.tensor(
        [
            [1.0, 1.0, 0.0],  # tie
            [2.0, 1.0, 0.0],  # right
            [torch.nan, 1.0, 0.0],  # own is NaN
            [0.0, torch.nan, -1.0],  # another is NaN
        ],
        requires_grad=True,
    )
    labels = torch.zeros(4, dtype=torch.long)
    accuracy = topk_accuracy(scores, labels)
    assert accuracy.item() == 25
    assert not accuracy.requires_grad
    # The second place is enough but for the NaN's own row.
    assert topk_accuracy(scores, labels, 2).item() == 75
    assert topk_accuracy(scores, labels, 3).item() == 100


@pytest.mark.parametrize(
    ('scores', 'labels', 'k', 'message'),
    [
        (torch.ones(3), torch.arange(3), 1, r'\(B, C\), got \(3,\)'),
        (torch.ones(0, 3), torch.arange(0), 1, r'got \(0, 3\)'),
        (torch.ones(3, 3), torch.arange(2), 1, 'each of 3 rows'),
        (torch.ones(3, 2), torch.arange(3), 1, 'from 0 to 1, got 0 to 2'),
        (torch.ones(3, 3), torch.arange(3), 0, 'k >= 1, got 0'),
    ],
)
def test_topk_bad_input(scores, labels, k, message):
    with pytest.raises(ValueError, match=message):
        topk_accuracy(scores, labels, k)


# -- agreement --------------------------------------------------------------


def test_agreement_parity_with_scikit_learn():
    a, b = groupings()
    a[:20] = b[:20]
    got = clustering_agreement(a, b)
    x, y = a.numpy(), b.numpy()
    assert got.nmi == pytest.approx(judge.normalized_mutual_info_score(x, y))
    assert got.ami == pytest.approx(judge.adjusted_mutual_info_score(x, y))
    assert got.ari == pytest.approx(judge.adjusted_rand_score(x, y))
    assert 0.1 < got.ami < got.nmi < 0.9


def test_agreement_of_the_same_groups_by_other_names_is_one():
    a, _ = groupings()
    names = torch.tensor([9, -3, 100, 0])
    assert clustering_agreement(a, names[a]) == pytest.approx((1, 1, 1))
    assert hungarian_accuracy(a, names[a]) == 100
    assert purity(a, names[a]) == 100


@pytest.mark.parametrize(('a', 'b'), [(4, 3), (3, 4), (3, 3), (1, 4)])
def test_hungarian_and_purity_equal_brute_force(a, b):
    for seed in range(5):
        x, y = (t.tolist() for t in groupings(40, a, b, seed))
        size = max(a, b)
        best = max(
            sum(match[i] == j for i, j in zip(x, y, strict=True))
            for match in itertools.permutations(range(size))
        )
        clusters = [
            [j for i, j in zip(x, y, strict=True) if i == c] for c in range(a)
        ]
        most = sum(max(map(c.count, c)) for c in clusters if c)
        x, y = torch.tensor(x), torch.tensor(y)
        assert hungarian_accuracy(x, y) == pytest.approx(100 * best / 40)
        assert purity(x, y) == pytest.approx(100 * most / 40)


def test_pair_precision_counts_pairs():
    x, y = (t.tolist() for t in groupings(40, 4, 3, 1))
    inside = [
        y[i] == y[j]
        for i, j in itertools.combinations(range(40), 2)
        if x[i] == x[j]
    ]
    found = pair_precision(torch.tensor(x), torch.tensor(y))
    assert found == pytest.approx(100 * sum(inside) / len(inside))
    assert 0 < found < 100
    a, _ = groupings()
    assert pair_precision(a, a) == 100
    # No two images together: there is nothing to be right about.
    assert pair_precision(torch.arange(40), a) == 0


def test_purity_is_not_symmetric():
    fine, coarse = torch.arange(6), torch.tensor([0, 0, 0, 1, 1, 1])
    assert purity(fine, coarse) == 100
    assert purity(coarse, fine) == pytest.approx(100 / 3)
    assert hungarian_accuracy(fine, coarse) == pytest.approx(100 / 3)


@pytest.mark.parametrize(
    ('num', 'k', 'kept'),
    [(60, 60, 0.5), (500, 4, 0.0), (2000, 700, 0.3), (3000, 90, 0.9)],
)
def test_adjusted_information_parity_at_many_sizes(num, k, kept):
    generator = torch.Generator().manual_seed(k)
    a = torch.randint(k, (num,), generator=generator)
    b = torch.randint(k, (num,), generator=generator)
    b = torch.where(torch.rand(num, generator=generator) < kept, a, b)
    expected = judge.adjusted_mutual_info_score(a.numpy(), b.numpy())
    assert clustering_agreement(a, b).ami == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize('num', [1, 2, 9])
def test_adjusted_information_of_trivial_groupings(num):
    one, own = torch.zeros(num).long(), torch.arange(num)
    for a, b in ((one, one), (own, own), (one, own), (own, one)):
        expected = judge.adjusted_mutual_info_score(a.numpy(), b.numpy())
        assert clustering_agreement(a, b).ami == pytest.approx(
            expected, abs=1e-9
        )


@pytest.mark.parametrize(
    'function',
    [clustering_agreement, hungarian_accuracy, pair_precision, purity],
)
def test_agreement_bad_input(function):
    for a, b in (
        (torch.arange(3), torch.arange(4)),
        (torch.arange(0), torch.arange(0)),
        (torch.ones(2, 2), torch.ones(2, 2)),
    ):
        with pytest.raises(ValueError, match='same images'):
            function(a, b)


# -- sizes ------------------------------------------------------------------


def test_cluster_sizes_by_hand():
    assignments = torch.tensor([0, 0, 0, 2, 2, 4])
    # sizes 3, 0, 2, 0, 1
    assert cluster_sizes(assignments, 5) == (0, 1.0, 3, 2)
    # sizes 3, 0, 2, 0, 1, 0: the middle two are 0 and 1
    assert cluster_sizes(assignments, 6) == (0, 0.5, 3, 3)
    assert cluster_sizes(torch.zeros(7, dtype=torch.long), 1) == (7, 7, 7, 0)


@pytest.mark.parametrize(
    ('assignments', 'num_clusters', 'message'),
    [
        (torch.arange(3), 2, 'from 0 to 1, got 0 to 2'),
        (torch.arange(3) - 1, 3, 'got -1 to 1'),
        (torch.ones(3), 3, 'integer assignments.*float32'),
        (torch.arange(3), 0, 'num_clusters >= 1'),
    ],
)
def test_cluster_sizes_bad_input(assignments, num_clusters, message):
    with pytest.raises(ValueError, match=message):
        cluster_sizes(assignments, num_clusters)


# ---- beyond chance --------------------------------------------------------


def test_shares_beyond_chance_by_counting():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (40,), generator=generator)
    clusters = torch.where(
        torch.rand(40, generator=generator) < 0.6,
        labels,
        torch.randint(4, (40,), generator=generator),
    )
    found = class_shares(clusters, labels, draws=4000)

    def pairs(of=None):
        """Pairs of one cluster and of one class, by two loops."""
        same = together = 0
        for i in range(40):
            for j in range(40):
                if i == j or (of is not None and labels[i] != of):
                    continue
                if clusters[i] == clusters[j]:
                    together += 1
                    same += int(labels[i] == labels[j])
        return 100 * same / together

    chance = (
        100
        * sum(
            int(labels[i] == labels[j])
            for i in range(40)
            for j in range(40)
            if i != j
        )
        / (40 * 39)
    )
    assert found.pairs == pytest.approx(pairs())
    expected = 100 * (pairs() - chance) / (100 - chance)
    assert found.pairs_beyond_chance == pytest.approx(expected)
    for label in range(3):
        chance = 100 * (int((labels == label).sum()) - 1) / 39
        expected = 100 * (pairs(label) - chance) / (100 - chance)
        assert float(found.pairs_by_class[label]) == pytest.approx(expected)


def test_chance_and_pure_clusters_are_the_ends_of_the_scale():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(200)
    drawn = torch.randint(50, (2000,), generator=generator)
    found = class_shares(drawn, labels)
    assert abs(found.purity_beyond_chance) < 2  # purity itself is 21
    assert abs(found.pairs_beyond_chance) < 1
    assert found.purity > 18
    pure = class_shares(labels * 5 + torch.arange(2000) % 5, labels)
    assert pure.purity_beyond_chance == pure.pairs_beyond_chance == 100
    assert pure.pairs_by_class.tolist() == [100.0] * 10
