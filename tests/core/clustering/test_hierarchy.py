import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ahpcl.core.clustering.balance import size_bounds
from ahpcl.core.clustering.concentration import concentration
from ahpcl.core.clustering.divide import child_counts
from ahpcl.core.clustering.hierarchy import build_hierarchy
from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.seeding import seed_from

LINKAGES = ['independent', 'agglomerative', 'divisive']
NESTED = LINKAGES[1:]


def nested_data(per_leaf=25, seed=0, d=48):
    """Three levels: 3 groups of 4 groups of 3 leaves; and the true leaf."""
    generator = torch.Generator().manual_seed(seed)

    def around(rows, number, spread):
        rows = rows.repeat_interleave(number, 0)
        noise = torch.randn(rows.shape, generator=generator)
        return F.normalize(rows + spread * noise, dim=1)

    top = F.normalize(torch.randn(3, d, generator=generator), dim=1)
    middle = around(top, 4, 0.09)
    leaves = around(middle, 3, 0.03)
    images = around(leaves, per_leaf, 0.006)
    leaf = torch.arange(36).repeat_interleave(per_leaf)
    order = torch.randperm(len(leaf), generator=generator)
    return images[order], leaf[order]


def loose_data(n=700, d=12, seed=1):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(25, d, generator=generator)
    which = torch.randint(0, 25, (n,), generator=generator)
    noise = 0.7 * torch.randn(n, d, generator=generator)
    return F.normalize(centres[which] + noise, dim=1)


def check(hierarchy, x, counts, nested):
    assert hierarchy.num_clusters == tuple(sorted(counts, reverse=True))
    for position, level in enumerate(hierarchy):
        assert (level.sizes() > 0).all()
        assert len(level.assignments) == len(x)
        distances = (x - level.centroids[level.assignments]).norm(dim=1)
        distances[distances < 1e-5] = 0
        assert level.objective == pytest.approx(
            distances.double().square().mean().item(), rel=1e-4, abs=1e-9
        )
        torch.testing.assert_close(
            level.concentration,
            concentration(distances, level.assignments, level.num_clusters),
            rtol=1e-3,
            atol=1e-5,
        )
        if not nested or position == len(hierarchy) - 1:
            assert level.parents is None
            continue
        coarse = hierarchy[position + 1]
        assignments = level.assignments.tolist()
        for image, parent in enumerate(coarse.assignments.tolist()):
            assert level.parents[assignments[image]] == parent
        # Every coarse cluster has a child.
        assert len(level.parents.unique()) == coarse.num_clusters


@pytest.mark.parametrize('linkage', LINKAGES)
@pytest.mark.parametrize(
    'counts', [[40, 12, 4], [2, 5, 10, 20, 33, 50], [1, 300], [7]]
)
def test_levels_are_consistent(linkage, counts):
    x = loose_data()
    hierarchy = build_hierarchy(
        x, counts, KMeansSettings(n_init=2), linkage=linkage
    )
    check(hierarchy, x, counts, linkage != 'independent')


@pytest.mark.parametrize('linkage', LINKAGES)
@pytest.mark.parametrize('counts', [(3, 12, 36), (36, 12, 3)])
def test_recovers_a_true_hierarchy(linkage, counts):
    from sklearn.metrics import adjusted_mutual_info_score

    x, leaf = nested_data()
    hierarchy = build_hierarchy(x, counts, linkage=linkage)
    for level in hierarchy:
        truth = leaf // (36 // level.num_clusters)
        score = adjusted_mutual_info_score(truth, level.assignments)
        assert score > 0.99, level.num_clusters


@pytest.mark.parametrize('linkage', LINKAGES)
def test_order_given_does_not_matter_and_seeds_do(linkage):
    x = loose_data()

    def build(counts, seed=0):
        return build_hierarchy(
            x, counts, KMeansSettings(n_init=1), linkage=linkage, seed=seed
        )

    first, second = build([5, 60, 20]), build([60, 20, 5])
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.centroids, b.centroids)
        assert torch.equal(a.assignments, b.assignments)
    other = build([60, 20, 5], seed=1)
    assert not torch.equal(first[0].centroids, other[0].centroids)


def test_independent_level_does_not_depend_on_the_others():
    x = loose_data()
    alone = build_hierarchy(x, [20], KMeansSettings(n_init=2)).level(20)
    among = build_hierarchy(x, [5, 20, 60], KMeansSettings(n_init=2)).level(20)
    assert torch.equal(alone.centroids, among.centroids)
    direct = spherical_kmeans(
        x, 20, KMeansSettings(n_init=2), seed=seed_from(0, 20)
    )
    assert torch.equal(alone.assignments, direct.assignments)


@pytest.mark.parametrize('linkage', LINKAGES)
def test_warm_start_goes_by_count(linkage):
    x, _ = nested_data()
    cold = build_hierarchy(x, (3, 12, 36), linkage=linkage)
    init = {k.num_clusters: k.centroids for k in cold}
    init[999] = torch.rand(1, 1)  # a rung that left the window
    warm = build_hierarchy(
        x,
        (3, 12, 36),
        KMeansSettings(n_iter=1),
        linkage=linkage,
        init=init,
        seed=5,
    )
    for a, b in zip(cold, warm, strict=True):
        # Divisive levels are numbered by parent; the clusters are the same.
        together = a.assignments * 1000 + b.assignments
        assert len(together.unique()) == a.num_clusters


def test_warm_start_of_a_split_with_too_few_centroids_in_a_parent():
    x, _ = nested_data()
    cold = build_hierarchy(x, (3, 12), linkage='divisive')
    # All warm centroids near one parent: the others have to be drawn.
    generator = torch.Generator().manual_seed(0)
    near = cold[1].centroids[:1] + 0.01 * torch.randn(
        12, 48, generator=generator
    )
    warm = build_hierarchy(
        x,
        (3, 12),
        linkage='divisive',
        init={12: F.normalize(near, dim=1)},
    )
    check(warm, x, (3, 12), True)


@pytest.mark.parametrize('linkage', LINKAGES)
def test_more_clusters_never_fit_worse(linkage):
    x = loose_data()
    hierarchy = build_hierarchy(x, (2, 8, 32, 128), linkage=linkage)
    objectives = [level.objective for level in hierarchy]
    assert objectives == sorted(objectives)


def test_nested_levels_are_nearly_as_good_as_independent_ones():
    x = loose_data()
    free = build_hierarchy(x, (8, 40))
    for linkage in NESTED:
        nested = build_hierarchy(x, (8, 40), linkage=linkage)
        for a, b in zip(free, nested, strict=True):
            assert b.objective < 1.15 * a.objective


def test_agglomerative_weighs_centroids_by_size():
    x = loose_data()
    fine, coarse = build_hierarchy(x, (4, 60), linkage='agglomerative')
    sizes = fine.sizes().double()
    for j in range(4):
        own = fine.parents == j
        mean = (fine.centroids[own].double() * sizes[own, None]).sum(dim=0)
        expected = (mean / mean.norm()).float()
        torch.testing.assert_close(
            coarse.centroids[j], expected, atol=1e-5, rtol=0
        )


def test_divisive_shares_follow_size_and_spread():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.eye(20)[:2]

    def cloud(centre, n, spread):
        noise = spread * torch.randn(n, 20, generator=generator)
        return F.normalize(centre + noise, dim=1)

    def shares(*clouds):
        x = torch.cat(clouds)
        fine, coarse = build_hierarchy(x, (2, 20), linkage='divisive')
        own = coarse.assignments[0], coarse.assignments[-1]
        counts = torch.bincount(fine.parents)
        return counts[own[0]].item(), counts[own[1]].item()

    large, small = shares(cloud(a, 300, 0.1), cloud(b, 100, 0.1))
    assert (large, small) == (15, 5)
    wide, tight = shares(cloud(a, 200, 0.12), cloud(b, 200, 0.04))
    assert wide > 2 * tight
    # Points that are all one can't be split.
    one = b.expand(200, 20)
    spread, point = shares(cloud(a, 200, 0.1), one)
    assert (spread, point) == (19, 1)


@settings(deadline=None, max_examples=200)
@given(
    parents=st.lists(
        st.tuples(
            st.sampled_from([0.0, 1e-6, 0.3, 1.0, 70.0]), st.integers(0, 9)
        ),
        min_size=1,
        max_size=12,
    ),
    data=st.data(),
)
def test_child_counts_sum_and_stay_in_bounds(parents, data):
    mass = torch.tensor([m for m, _ in parents])
    capacity = torch.tensor([c for _, c in parents])
    least = torch.tensor([data.draw(st.integers(0, c)) for _, c in parents])
    total = data.draw(st.integers(int(least.sum()), int(capacity.sum())))
    counts = child_counts(mass, least, capacity, total)
    assert counts.sum() == total
    assert (counts <= capacity).all()
    assert (counts >= least).all()


def test_child_counts_are_proportional():
    one, many = torch.ones(4).long(), torch.full((4,), 100)
    counts = child_counts(torch.tensor([1.0, 2.0, 3.0, 4.0]), one, many, 50)
    assert counts.tolist() == [5, 10, 15, 20]
    counts = child_counts(torch.zeros(4), one, many, 8)
    assert counts.tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize('linkage', LINKAGES)
def test_as_many_clusters_as_images(linkage):
    x = loose_data(60)
    hierarchy = build_hierarchy(
        x, (60, 10), KMeansSettings(n_init=1), linkage=linkage
    )
    assert hierarchy[0].sizes().tolist() == [1] * 60
    check(hierarchy, x, (60, 10), linkage != 'independent')


@pytest.mark.parametrize('linkage', LINKAGES)
def test_duplicated_images(linkage):
    x = loose_data(40).repeat(5, 1)
    hierarchy = build_hierarchy(
        x, (30, 6), KMeansSettings(n_init=1), linkage=linkage
    )
    check(hierarchy, x, (30, 6), linkage != 'independent')
    # As many clusters as there are distinct images.
    hierarchy = build_hierarchy(
        x, (40, 6), KMeansSettings(n_init=1), linkage=linkage
    )
    check(hierarchy, x, (40, 6), linkage != 'independent')
    # Distances are 0 but for rounding.
    assert hierarchy[0].sizes().tolist() == [5] * 40
    assert hierarchy[0].concentration.tolist() == pytest.approx([0.2] * 40)


@pytest.mark.parametrize('linkage', LINKAGES)
@pytest.mark.parametrize('value', [1.0, 0.0])
def test_collapsed_features_warn_and_do_not_fail(linkage, value):
    x = F.normalize(torch.full((50, 6), value), dim=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        hierarchy = build_hierarchy(x, (20, 8, 3), linkage=linkage)
    assert any('distinct' in str(w.message) for w in caught)
    for level in hierarchy:
        assert level.sizes().sum() == 50
        assert torch.isfinite(level.concentration).all()


@settings(deadline=None, max_examples=40)
@given(
    distinct=st.integers(1, 15),
    n=st.integers(15, 40),
    linkage=st.sampled_from(LINKAGES),
    spherical=st.booleans(),
    seed=st.integers(0, 9),
)
def test_any_duplication_gives_a_valid_hierarchy(
    distinct, n, linkage, spherical, seed
):
    generator = torch.Generator().manual_seed(seed)
    rows = F.normalize(torch.randn(distinct, 3, generator=generator), dim=1)
    extra = torch.randint(0, distinct, (n - distinct,), generator=generator)
    x = torch.cat([rows, rows[extra]])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        hierarchy = build_hierarchy(
            x,
            (12, 5, 2),
            KMeansSettings(spherical=spherical, n_init=1),
            linkage=linkage,
        )
    for level in hierarchy:
        assert (level.sizes() > 0).sum() == min(distinct, level.num_clusters)


def test_pcl_clustering_measures_from_the_means():
    x = loose_data()
    level = build_hierarchy(x, [15], KMeansSettings(spherical=False))[0]
    raw = spherical_kmeans(
        x, 15, KMeansSettings(spherical=False), seed=seed_from(0, 15)
    )
    torch.testing.assert_close(
        level.centroids, F.normalize(raw.centroids, dim=1)
    )
    assert raw.centroids.norm(dim=1).max() < 0.99
    torch.testing.assert_close(
        level.concentration,
        concentration(raw.distances, raw.assignments, 15),
    )
    unit = (x - level.centroids[level.assignments]).norm(dim=1)
    assert raw.distances.mean() < unit.mean()


@pytest.mark.parametrize('balance', [1.0, 1.5])
def test_balanced_sizes(balance):
    x = loose_data()
    hierarchy = build_hierarchy(
        x, (40, 9), KMeansSettings(balance=balance, n_init=1)
    )
    for level in hierarchy:
        lower, upper = size_bounds(700, level.num_clusters, balance)
        assert lower <= level.sizes().min()
        assert level.sizes().max() <= upper


def test_extra_iterations_per_doubling():
    x = loose_data(300)

    def objective(k, **kwargs):
        return (
            build_hierarchy(
                x, (5, 80), KMeansSettings(n_init=1, n_iter=1, **kwargs)
            )
            .level(k)
            .objective
        )

    assert objective(5) == objective(5, extra_iter_per_doubling=3)
    assert objective(80, extra_iter_per_doubling=3) < objective(80)
    direct = spherical_kmeans(
        x, 80, KMeansSettings(n_init=1, n_iter=1 + 12), seed=seed_from(0, 80)
    )
    assert objective(80, extra_iter_per_doubling=3) == pytest.approx(
        direct.objective, rel=1e-6
    )


@pytest.mark.parametrize('linkage', LINKAGES)
def test_input_and_global_random_state_stay_untouched(linkage):
    x = loose_data()
    copy = x.clone()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    build_hierarchy(x, [4, 30], KMeansSettings(n_init=1), linkage=linkage)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, copy)


@pytest.mark.parametrize('linkage', NESTED)
def test_nested_counts_too_close_are_named(linkage):
    x = loose_data()
    with pytest.raises(ValueError, match='24 and 20, 20 and 17'):
        build_hierarchy(x, (24, 20, 17, 5), linkage=linkage)
    build_hierarchy(x, (25, 20), KMeansSettings(n_init=1), linkage=linkage)
    build_hierarchy(
        x, (21, 20), KMeansSettings(n_init=1, min_ratio=1.0), linkage=linkage
    )
    build_hierarchy(x, (24, 20, 17), KMeansSettings(n_init=1, n_iter=2))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'num_clusters': []}, 'at least one'),
        ({'num_clusters': [5, 5]}, r'distinct cluster counts.*\(5, 5\)'),
        ({'num_clusters': [5, 0]}, r'>= 1, got \(5, 0\)'),
        ({'num_clusters': [5, -3]}, '>= 1'),
        ({'num_clusters': [5, 2.5]}, 'whole number'),
        ({'num_clusters': [5, 31]}, 'at most 30 clusters.*got 31'),
        ({'linkage': 'ward'}, "got 'ward'"),
        (
            {'settings': KMeansSettings(balance=1.5), 'linkage': 'divisive'},
            'balance=None',
        ),
        (
            {
                'settings': KMeansSettings(balance=1.5),
                'linkage': 'agglomerative',
            },
            'balance=None',
        ),
        ({'init': {5: torch.rand(4, 12)}}, r'init of shape \(5, 12\)'),
        ({'temperature': 0.0}, 'temperature'),
        ({'features': torch.full((30, 12), torch.nan)}, '30 of 30 rows'),
    ],
)
def test_bad_input(change, message):
    arguments = {
        'features': loose_data(30),
        'num_clusters': [5, 2],
        **change,
    }
    features = arguments.pop('features')
    num_clusters = arguments.pop('num_clusters')
    with pytest.raises(ValueError, match=message):
        build_hierarchy(features, num_clusters, **arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
@pytest.mark.parametrize('linkage', LINKAGES)
def test_on_cuda(linkage):
    x = loose_data().cuda()
    hierarchy = build_hierarchy(
        x, (40, 12, 4), KMeansSettings(n_init=2), linkage=linkage
    )
    check(hierarchy, x, (40, 12, 4), linkage != 'independent')
