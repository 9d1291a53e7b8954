import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.rows import distinct_ids
from ahpcl.core.clustering.settings import KMeansSettings


def blobs(n=600, k=12, d=16, noise=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(k, d, generator=generator)
    which = torch.randint(0, k, (n,), generator=generator)
    x = centres[which] + noise * torch.randn(n, d, generator=generator)
    return F.normalize(x, dim=1)


def check_consistent(x, result, spherical=True):
    """What has to hold of every result, from an obvious computation."""
    c = result.centroids.double()
    table = torch.cdist(x.double(), c)
    own = table.gather(1, result.assignments[:, None]).squeeze(1)
    torch.testing.assert_close(
        result.distances.double(), own, atol=1e-5, rtol=0
    )
    assert (own <= table.min(dim=1).values + 1e-5).all()
    assert result.objective == pytest.approx(
        own.square().mean().item(), abs=1e-6
    )
    if spherical:
        torch.testing.assert_close(
            c.norm(dim=1), torch.ones(len(c)).double(), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize('spherical', [True, False])
def test_one_step_against_a_slow_loop(spherical):
    x = blobs(200, 6)
    init = F.normalize(x[:6] + 0.1, dim=1)
    result = spherical_kmeans(
        x, 6, KMeansSettings(n_iter=1, spherical=spherical), init=init
    )
    nearest = [
        min(range(6), key=lambda j: float((row - init[j]).norm())) for row in x
    ]
    for j in range(6):
        mean = torch.stack(
            [row for row, a in zip(x, nearest, strict=True) if a == j]
        ).mean(dim=0)
        mean = mean / mean.norm() if spherical else mean
        torch.testing.assert_close(result.centroids[j], mean)
    check_consistent(x, result, spherical)


def test_plain_kmeans_follows_scikit_learn_from_the_same_start():
    from sklearn.cluster import KMeans

    x = blobs(500, 8)
    init = x[:8].clone()
    for n_iter in (1, 2, 30):
        theirs = KMeans(
            8, init=init.numpy(), n_init=1, max_iter=n_iter, tol=0
        ).fit(x.numpy())
        ours = spherical_kmeans(
            x, 8, KMeansSettings(n_iter=n_iter, spherical=False), init=init
        )
        np.testing.assert_allclose(
            ours.centroids.numpy(), theirs.cluster_centers_, atol=1e-5
        )
        assert (ours.assignments.numpy() == theirs.labels_).all()
        assert ours.objective == pytest.approx(theirs.inertia_ / 500, rel=1e-4)


@pytest.mark.parametrize('k', [5, 40, 150])
def test_objective_is_as_low_as_scikit_learns(k):
    from sklearn.cluster import KMeans
    from sklearn.datasets import load_digits

    x = F.normalize(torch.from_numpy(load_digits().data[::2]).float(), dim=1)
    ours = spherical_kmeans(x, k, KMeansSettings(spherical=False))
    theirs = KMeans(k, n_init=5, max_iter=20, random_state=0).fit(x.numpy())
    assert ours.objective <= 1.03 * theirs.inertia_ / len(x)
    check_consistent(x, ours, spherical=False)


@pytest.mark.parametrize('k', [5, 40, 150])
def test_spherical_objective_is_as_low_as_faiss(k):
    faiss = pytest.importorskip('faiss')
    x = blobs(900, 60, noise=0.8)
    theirs = faiss.Kmeans(
        16, k, niter=20, nredo=5, spherical=True, min_points_per_centroid=1
    )
    theirs.train(x.numpy())
    cosine = x @ torch.from_numpy(theirs.centroids).t()
    objective = (2 - 2 * cosine.max(dim=1).values).mean().item()
    ours = spherical_kmeans(x, k)
    assert ours.objective <= 1.01 * objective
    check_consistent(x, ours)


def test_spherical_steps_follow_faiss_from_the_same_start():
    faiss = pytest.importorskip('faiss')
    x = blobs(400, 8)
    init = x[:8].clone()
    theirs = faiss.Kmeans(
        16, 8, niter=3, spherical=True, min_points_per_centroid=1
    )
    theirs.train(x.numpy(), init_centroids=init.numpy())
    ours = spherical_kmeans(x, 8, KMeansSettings(n_iter=3), init=init)
    np.testing.assert_allclose(
        ours.centroids.numpy(), theirs.centroids, atol=1e-5
    )


def test_backends_agree():
    pytest.importorskip('faiss')
    x = blobs()
    first = spherical_kmeans(x, 20, KMeansSettings(backend='torch'))
    second = spherical_kmeans(x, 20, KMeansSettings(backend='faiss'))
    assert torch.equal(first.assignments, second.assignments)
    torch.testing.assert_close(first.centroids, second.centroids)


def test_recovers_tight_clusters():
    from sklearn.metrics import adjusted_mutual_info_score

    generator = torch.Generator().manual_seed(3)
    centres = F.normalize(torch.randn(50, 32, generator=generator), dim=1)
    truth = torch.arange(50).repeat_interleave(20)
    noise = 0.03 * torch.randn(1000, 32, generator=generator)
    x = F.normalize(centres[truth] + noise, dim=1)
    found = spherical_kmeans(x, 50)
    score = adjusted_mutual_info_score(truth, found.assignments)
    assert score > 0.99


def test_deterministic_and_seeded():
    x = blobs()
    first = spherical_kmeans(x, 30, KMeansSettings(n_init=2), seed=1)
    second = spherical_kmeans(x, 30, KMeansSettings(n_init=2), seed=1)
    other = spherical_kmeans(x, 30, KMeansSettings(n_init=2), seed=2)
    assert torch.equal(first.centroids, second.centroids)
    assert torch.equal(first.assignments, second.assignments)
    assert not torch.equal(first.centroids, other.centroids)


def test_global_random_state_and_input_stay_untouched():
    x = blobs()
    copy = x.clone()
    torch.manual_seed(7)
    np.random.seed(7)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    init = x[:9].clone()
    spherical_kmeans(x, 9, KMeansSettings(max_points=20))
    spherical_kmeans(x, 9, init=init)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert torch.equal(x, copy)
    assert torch.equal(init, copy[:9])


def test_more_restarts_never_give_a_higher_objective():
    x = blobs(400, 30, noise=0.9)
    objectives = [
        spherical_kmeans(x, 25, KMeansSettings(n_init=n), seed=4).objective
        for n in (1, 2, 4, 8)
    ]
    assert objectives == sorted(objectives, reverse=True)


def test_stops_when_assignments_settle():
    x = blobs(300, 3, noise=0.05)
    result = spherical_kmeans(x, 3, KMeansSettings(n_iter=50))
    assert result.n_iter < 10


@settings(deadline=None, max_examples=120)
@given(
    distinct=st.integers(1, 12),
    repeats=st.lists(st.integers(1, 5), min_size=12, max_size=12),
    k=st.integers(1, 12),
    spherical=st.booleans(),
    seed=st.integers(0, 5),
    max_points=st.sampled_from([None, 1, 2]),
)
def test_no_cluster_is_empty_where_k_distinct_points_exist(
    distinct, repeats, k, spherical, seed, max_points
):
    generator = torch.Generator().manual_seed(seed)
    rows = F.normalize(torch.randn(distinct, 3, generator=generator), dim=1)
    x = rows.repeat_interleave(torch.tensor(repeats[:distinct]), dim=0)
    k = min(k, len(x))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        result = spherical_kmeans(
            x,
            k,
            KMeansSettings(
                spherical=spherical, n_init=1, max_points=max_points
            ),
        )
    sizes = torch.bincount(result.assignments, minlength=k)
    assert (sizes > 0).sum() == min(k, distinct)
    assert bool(caught) == (distinct < k)
    check_consistent(x, result, spherical)
    if distinct <= k:
        assert result.objective < 1e-10


def test_few_distinct_points_are_all_learnt_from():
    # A random nine of these eleven rows lack one of the five points.
    generator = torch.Generator().manual_seed(5)
    rows = F.normalize(torch.randn(5, 3, generator=generator), dim=1)
    x = rows.repeat_interleave(torch.tensor([1, 1, 3, 1, 5]), dim=0)
    with pytest.warns(UserWarning, match='only 5 distinct points'):
        result = spherical_kmeans(
            x, 9, KMeansSettings(spherical=False, n_init=1, max_points=1)
        )
    assert result.objective < 1e-10


def test_lost_clusters_are_repaired_and_counted():
    x = blobs(300, 3, noise=0.1)
    # Nine of the ten warm-start centroids are where no point is.
    init = F.normalize(-x.mean(dim=0, keepdim=True), dim=1).repeat(10, 1)
    init[0] = x[0]
    for n_iter in (1, 20):
        result = spherical_kmeans(
            x, 10, KMeansSettings(n_iter=n_iter), init=init
        )
        assert (torch.bincount(result.assignments, minlength=10) > 0).all()
        assert result.num_repaired >= 9
        check_consistent(x, result)


@pytest.mark.parametrize('spherical', [True, False])
def test_nearly_equal_points_fill_all_clusters(spherical):
    # Points so near each other that float32 scores can't tell them apart.
    x = torch.ones(64, 8)
    x[:, 0] += torch.arange(64) * torch.finfo(torch.float32).eps
    result = spherical_kmeans(x, 20, KMeansSettings(spherical=False))
    assert (torch.bincount(result.assignments, minlength=20) > 0).all()
    x = F.normalize(x, dim=1)
    k = int(distinct_ids(F.normalize(x, dim=1)).max()) + 1
    result = spherical_kmeans(
        x, min(k, 20), KMeansSettings(spherical=spherical)
    )
    assert (torch.bincount(result.assignments) > 0).all()


def test_one_cluster_and_as_many_as_points():
    x = blobs(50, 5)
    one = spherical_kmeans(x, 1)
    torch.testing.assert_close(
        one.centroids[0], F.normalize(x.mean(dim=0), dim=0)
    )
    assert one.assignments.unique().tolist() == [0]
    every = spherical_kmeans(x, 50)
    assert sorted(every.assignments.tolist()) == list(range(50))
    assert every.objective < 1e-10


def test_constant_features_warn_and_leave_honest_empties():
    x = F.normalize(torch.ones(40, 6), dim=1)
    with pytest.warns(UserWarning, match='only 1 distinct points for 5'):
        result = spherical_kmeans(x, 5)
    sizes = torch.bincount(result.assignments, minlength=5)
    assert sizes.max() == 40
    assert result.objective < 1e-12
    torch.testing.assert_close(result.centroids, x[:5])


def test_rows_of_zeros():
    x = blobs(60, 3)
    x[::20] = 0
    result = spherical_kmeans(x, 4)
    check_consistent(x, result)
    torch.testing.assert_close(result.distances[::20], torch.ones(3))
    assert (
        torch.bincount(result.assignments[x.norm(dim=1) > 0], minlength=4) > 0
    ).all()
    with pytest.warns(UserWarning, match='only 0 distinct'):
        dead = spherical_kmeans(torch.zeros(5, 3), 2)
    assert dead.centroids.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert dead.objective == 1.0


def test_opposite_points_keep_a_direction():
    x = torch.tensor([[1.0, 0], [-1.0, 0]])
    result = spherical_kmeans(x, 1)
    assert result.centroids.norm().item() == pytest.approx(1)
    assert result.objective == pytest.approx(2)


def test_max_points_learns_from_a_subset_and_assigns_all():
    x = blobs(1000, 4, noise=0.2)
    full = spherical_kmeans(x, 4)
    sub = spherical_kmeans(x, 4, KMeansSettings(max_points=25))
    assert len(sub.assignments) == 1000
    assert not torch.equal(full.centroids, sub.centroids)
    assert full.objective < sub.objective < 1.2 * full.objective
    check_consistent(x, sub)
    # Enough room: nothing is left out.
    same = spherical_kmeans(x, 4, KMeansSettings(max_points=250))
    assert torch.equal(full.centroids, same.centroids)


def test_min_points_warns_only():
    x = blobs(100, 4)
    with pytest.warns(UserWarning, match='min_points=30'):
        warned = spherical_kmeans(x, 4, KMeansSettings(min_points=30))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        quiet = spherical_kmeans(x, 4, KMeansSettings(min_points=25))
    assert torch.equal(warned.centroids, quiet.centroids)


def test_whole_weights_are_repetitions():
    x = blobs(60, 5)
    weights = torch.arange(60) % 4
    init = x[[1, 2, 3, 5, 6]].clone()
    once = spherical_kmeans(x, 5, weights=weights, init=init)
    many = spherical_kmeans(x.repeat_interleave(weights, 0), 5, init=init)
    torch.testing.assert_close(once.centroids, many.centroids)
    assert once.objective == pytest.approx(many.objective, rel=1e-5)


def test_scale_of_features_does_not_matter_for_directions():
    x = blobs(200, 6)
    first = spherical_kmeans(x, 6)
    second = spherical_kmeans(4 * x, 6)
    torch.testing.assert_close(first.centroids, second.centroids)
    half = spherical_kmeans(x.to(torch.float64), 6)
    assert torch.equal(first.assignments, half.assignments)
    assert half.centroids.dtype == torch.float32


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'num_clusters': 0}, r'1 <= num_clusters <= 20 .*got 0'),
        ({'num_clusters': 21}, r'1 <= num_clusters <= 20 .*got 21'),
        ({'features': torch.rand(20)}, 'shape'),
        ({'features': torch.rand(0, 4)}, 'not empty'),
        ({'features': torch.ones(20, 4).long()}, 'floating-point'),
        ({'features': torch.full((20, 4), 1e30)}, 'overflow in 20 of 20'),
        ({'init': torch.rand(2, 4)}, r'init of shape \(3, 4\)'),
        ({'init': torch.full((3, 4), torch.nan)}, 'finite init'),
        ({'weights': torch.ones(3)}, 'weights of shape'),
        ({'weights': -torch.ones(20)}, 'weights >= 0'),
        ({'weights': torch.zeros(20)}, 'above 0'),
    ],
)
def test_bad_input(change, message):
    arguments = {'features': blobs(20, 3, 4), 'num_clusters': 3, **change}
    features = arguments.pop('features')
    num_clusters = arguments.pop('num_clusters')
    with pytest.raises(ValueError, match=message):
        spherical_kmeans(features, num_clusters, **arguments)


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ({'n_iter': 0}, 'n_iter >= 1, got 0'),
        ({'n_iter': 2.5}, 'n_iter to be a whole number'),
        ({'n_init': 0}, 'n_init'),
        ({'max_points': 0}, 'max_points, or None'),
        ({'warm_iter': 0}, 'warm_iter, or None'),
        ({'backend': 'gpu'}, "got 'gpu'"),
        ({'precision': 'int8'}, "got 'int8'"),
        ({'chunk_mib': 0.5}, 'chunk_mib of at least 1'),
        ({'tolerance': 1.0}, 'tolerance .* got 1.0'),
        ({'balance': 0.9}, 'balance >= 1'),
        ({'min_ratio': 0.5}, 'min_ratio'),
        ({'min_ratio': float('nan')}, 'min_ratio'),
        ({'extra_iter_per_doubling': -1}, 'extra_iter'),
        ({'alpha': 0.0}, 'alpha'),
    ],
)
def test_settings_are_checked_where_they_are_made(option, message):
    with pytest.raises(ValueError, match=message):
        KMeansSettings(**option)


def test_the_settings_of_a_level():
    settings = KMeansSettings(n_iter=20, extra_iter_per_doubling=5)

    def iterations(k, warm=False):
        return settings.for_level(k, smallest=100, warm=warm).n_iter

    assert [iterations(k) for k in (100, 200, 800)] == [20, 25, 35]
    assert iterations(800, warm=True) == 3
    bounds = KMeansSettings(min_points=5, max_points=9, balance=2.0)
    assert bounds.for_centroids() == KMeansSettings()


@pytest.mark.parametrize('bad', [torch.nan, torch.inf, -torch.inf])
def test_non_finite_features_are_counted_and_placed(bad):
    x = blobs(30, 3)
    x[7, 2] = x[7, 3] = x[19, 0] = bad
    with pytest.raises(ValueError, match='2 of 30 rows, row 7 first'):
        spherical_kmeans(x, 3)


def test_distinct_ids_against_numpy():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-1, 2, (500, 4), generator=generator).float()
    x[0] = -x[0] * 0.0  # some -0.0
    ids = distinct_ids(x)
    _, expected = np.unique(x.numpy() + 0.0, axis=0, return_inverse=True)
    pairs = set(zip(ids.tolist(), expected.reshape(-1).tolist(), strict=True))
    assert len(pairs) == len(set(ids.tolist())) == expected.max() + 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
def test_on_cuda_as_on_the_cpu():
    x = blobs(2000, 30)
    there = spherical_kmeans(x.cuda(), 30)
    again = spherical_kmeans(x.cuda(), 30)
    here = spherical_kmeans(x, 30)
    assert there.centroids.is_cuda
    assert torch.equal(there.centroids, again.centroids)
    assert there.objective == pytest.approx(here.objective, rel=0.02)
