import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ahpcl.core import KMeansSettings, PrototypeHierarchy, build_hierarchy
from ahpcl.core.clustering.identity import keep_identities, match_clusters


def test_a_renumbering_is_undone():
    generator = torch.Generator().manual_seed(0)
    old = torch.randint(30, (900,), generator=generator)
    shuffle = torch.randperm(30, generator=generator)
    number = match_clusters(shuffle[old], old, 30)
    assert torch.equal(number[shuffle[old]], old)


def by_a_loop(new, old, k):
    """Greedy over the whole table, the largest overlap first."""
    table = [[0] * k for _ in range(k)]
    for i, j in zip(new, old, strict=True):
        table[i][j] += 1
    found = [-1] * k
    for i, j in sorted(
        itertools.product(range(k), range(k)), key=lambda p: -table[p[0]][p[1]]
    ):
        if table[i][j] and found[i] < 0 and j not in found:
            found[i] = j
    free = [j for j in range(k) if j not in found]
    return [free.pop(0) if j < 0 else j for j in found]


@settings(deadline=None, max_examples=80)
@given(data=st.data(), k=st.integers(1, 7), n=st.integers(1, 40))
def test_matching_is_the_greedy_one(data, k, n):
    cluster = st.lists(st.integers(0, k - 1), min_size=n, max_size=n)
    new, old = data.draw(cluster), data.draw(cluster)
    number = match_clusters(torch.tensor(new), torch.tensor(old), k)
    assert number.tolist() == by_a_loop(new, old, k)
    assert sorted(number.tolist()) == list(range(k))


def test_other_images_are_refused():
    with pytest.raises(ValueError, match='same images'):
        match_clusters(torch.zeros(3).long(), torch.zeros(4).long(), 1)


def features(n=600, d=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, d, generator=generator), dim=1)


@pytest.mark.parametrize('linkage', ['independent', 'agglomerative'])
def test_a_hierarchy_keeps_its_numbers_and_nothing_else_changes(linkage):
    x = features()
    first = build_hierarchy(
        x, (40, 20, 5), KMeansSettings(n_init=1), linkage=linkage
    )
    drift = F.normalize(x + 0.02 * features(seed=1), dim=1)
    second = build_hierarchy(
        drift, (40, 20, 5), KMeansSettings(n_init=1), linkage=linkage, seed=9
    )
    kept = keep_identities(second, first, {40, 5})
    assert torch.equal(
        kept.level(20).assignments, second.level(20).assignments
    )
    for k in (40, 5):
        level, before = kept.level(k), second.level(k)
        # The same clusters: who is with whom, and around which centroid.
        own = level.centroids[level.assignments]
        assert torch.equal(own, before.centroids[before.assignments])
        phi = level.concentration[level.assignments]
        assert torch.equal(phi, before.concentration[before.assignments])
        stay = (level.assignments == first.level(k).assignments).float().mean()
        chance = (
            (before.assignments == first.level(k).assignments).float().mean()
        )
        assert stay > chance + 0.2
    if linkage == 'agglomerative':
        for fine, coarse in itertools.pairwise(kept.levels):
            assert torch.equal(
                fine.parents[fine.assignments], coarse.assignments
            )


def test_counts_that_are_new_stay_as_they_are():
    x = features(200)
    first = build_hierarchy(x, (10,), KMeansSettings(n_init=1))
    second = build_hierarchy(x, (20,), KMeansSettings(n_init=1))
    kept = keep_identities(second, first)
    assert isinstance(kept, PrototypeHierarchy)
    assert torch.equal(kept.level(20).centroids, second.level(20).centroids)
