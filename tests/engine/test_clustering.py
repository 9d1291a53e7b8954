"""Settings of the E-step's clustering."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from ahpcl.engine import ClusterRequest, KMeansClustering


def cluster(**settings):
    source = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(90, 5, generator=source))
    request = ClusterRequest((9, 4), 'agglomerative', temperature=0.3, seed=0)
    return KMeansClustering(n_init=1, **settings)(features, request)


def test_a_fixed_concentration_is_tau_and_nothing_else_changes():
    estimated, fixed = cluster(), cluster(concentration='fixed')
    for ours, theirs in zip(fixed, estimated, strict=True):
        assert torch.equal(
            ours.concentration, torch.full((ours.num_clusters,), 0.3)
        )
        assert theirs.concentration.std() > 1e-3
        assert torch.equal(ours.centroids, theirs.centroids)
        assert torch.equal(ours.assignments, theirs.assignments)
        assert (ours.parents is None) == (theirs.parents is None)
        assert ours.objective == theirs.objective


def test_another_concentration_is_refused():
    with pytest.raises(ValueError, match="'estimated' or 'fixed', got 'tau'"):
        KMeansClustering(concentration='tau')


def drift(epochs, n=400, d=8):
    source = torch.Generator().manual_seed(1)
    rows = torch.randn(n, d, generator=source)
    found = []
    for _ in range(epochs):
        rows = rows + 0.05 * torch.randn(n, d, generator=source)
        found.append(F.normalize(rows))
    return found


def run(clustering, features, counts=(30, 10), linkage='independent'):
    previous, found = None, []
    for epoch, rows in enumerate(features):
        request = ClusterRequest(
            counts,
            linkage,
            temperature=0.2,
            seed=epoch,
            epoch=epoch,
            previous=previous,
        )
        previous = clustering(rows, request)
        found.append(previous)
    return found


def kept(one, other, k):
    same = one.level(k).assignments == other.level(k).assignments
    return same.float().mean().item()


def test_the_effort_counts_what_warm_starts_spare():
    """Rung 30 goes on with 3 iterations; 10 is new, with 2 starts of 20."""
    clustering = KMeansClustering(n_init=2, n_iter=20, warm_start=True)
    (previous,) = run(clustering, drift(1), counts=(60, 30))
    request = dict(linkage='independent', temperature=0.2, seed=0)
    first = ClusterRequest((30, 10), **request)
    assert clustering.effort(first) == 'new seeds, at most 80 iterations'
    later = ClusterRequest((30, 10), **request, epoch=3, previous=previous)
    assert clustering.effort(later) == (
        'at most 43 iterations instead of 80, as 1 of 2 rungs go on from '
        'their clusters'
    )
    whole = KMeansClustering(n_init=1, n_iter=9, warm_start=True, warm_iter=9)
    assert whole.effort(later) == (
        'at most 18 iterations, as 1 of 2 rungs go on from their clusters'
    )
    again = ClusterRequest((30, 10), **request, epoch=10, previous=previous)
    assert clustering.effort(again) == clustering.effort(first)


@pytest.mark.parametrize('linkage', ['independent', 'agglomerative'])
def test_clusters_keep_their_numbers_with_cold_and_warm_starts(linkage):
    features = drift(5)
    cold = run(KMeansClustering(n_init=1), features, linkage=linkage)
    warm = run(
        KMeansClustering(n_init=1, warm_start=True, restart_every=3),
        features,
        linkage=linkage,
    )
    for before, now in itertools.pairwise(cold):
        assert kept(before, now, 10) > 0.25  # chance is 0.1
    # Epochs 1, 2 and 4 go on from those before; epoch 3 starts again.
    stay = [kept(before, now, 30) for before, now in itertools.pairwise(warm)]
    assert min(stay[0], stay[1], stay[3]) > 0.85
    assert 0.2 < stay[2] < min(stay[0], stay[1], stay[3])


def test_a_full_start_is_due_every_so_many_epochs():
    settings = KMeansClustering(warm_start=True, restart_every=4)
    assert [settings.is_cold_start(e) for e in range(6)] == [
        *(True, False, False, False),
        *(True, False),
    ]
    # With an E-step in the epochs 1, 3, 5, ..., the first one from 4, 8, ...
    cold = [settings.is_cold_start(e, interval=2) for e in range(1, 12, 2)]
    assert cold == [True, False, True, False, True, False]
    never = KMeansClustering(warm_start=True, restart_every=None)
    assert not never.is_cold_start(0)
    assert KMeansClustering().is_cold_start(3)


@pytest.mark.parametrize('start', ['images', 'centroids'])
def test_a_warm_start_is_as_good_as_the_full_recipe_over_epochs(start):
    features = drift(6, n=3000, d=16)
    full = run(KMeansClustering(), features, (150, 40))
    warm = run(
        KMeansClustering(warm_start=True, warm_from=start, restart_every=None),
        features,
        (150, 40),
    )
    for ours, theirs in zip(warm[1:], full[1:], strict=True):
        for k in (150, 40):
            ratio = ours.level(k).objective / theirs.level(k).objective
            assert ratio < 1.005
            # It is not the same clustering by another way.
            assert ratio != 1.0


@pytest.mark.parametrize('linkage', ['independent', 'agglomerative'])
@pytest.mark.parametrize('spherical', [True, False])
def test_clusters_go_on_where_all_features_have_moved(linkage, spherical):
    """A rotation changes no clusters; the centroids from before are lost."""
    (rows,) = drift(1)
    turned = (
        rows
        @ torch.linalg.qr(
            torch.randn(8, 8, generator=torch.Generator().manual_seed(5))
        )[0]
    )
    found = {}
    for start in ('images', 'centroids'):
        clustering = KMeansClustering(
            n_init=1,
            n_iter=200,
            warm_start=True,
            restart_every=None,
            warm_from=start,
            spherical=spherical,
        )
        found[start] = run(clustering, [rows, turned], linkage=linkage)
    before, after = found['images']
    assert kept(before, after, 30) == 1.0
    objective = before.level(30).objective
    assert after.level(30).objective == pytest.approx(objective, rel=1e-4)
    assert found['centroids'][1].level(30).objective > 1.01 * objective
    # Coarse levels of centroids weigh these, not the images.
    assert kept(before, after, 10) > (
        0.99 if linkage == 'independent' else 0.8
    )
    with pytest.raises(ValueError, match="'images' or 'centroids'"):
        KMeansClustering(warm_from='keys')


def test_tolerance_stops_early_and_costs_little():
    rows = drift(1, n=3000, d=16)[0]
    request = ClusterRequest((50,), 'independent', temperature=0.2, seed=0)
    exact = KMeansClustering(n_iter=100)(rows, request)
    early = KMeansClustering(n_iter=100, tolerance=0.02)(rows, request)
    ratio = early.levels[0].objective / exact.levels[0].objective
    assert 1 < ratio < 1.01


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(warm_iter=0), 'warm_iter'),
        (dict(restart_every=0), 'restart_every of at least 1'),
        (dict(n_itr=5), r'n_iter, n_init, .*got n_itr'),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        KMeansClustering(**settings)


def test_a_library_that_disappeared_is_replaced_and_results_stay(monkeypatch):
    rows = drift(1)[0]
    request = ClusterRequest((30,), 'independent', temperature=0.2, seed=0)
    clustering = KMeansClustering(backend='faiss', n_init=1)
    expected = KMeansClustering(backend='torch', n_init=1)(rows, request)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    found = clustering(rows, request)
    assert torch.equal(
        found.levels[0].assignments, expected.levels[0].assignments
    )
