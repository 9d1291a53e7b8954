"""What must hold of any features: invariances, and answers in hard cases."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ahpcl.core import (
    KMeansSettings,
    build_hierarchy,
    clustering_agreement,
    concentration,
    hungarian_accuracy,
    info_nce,
    knn_classify,
    pair_precision,
    proto_nce,
    purity,
    spherical_kmeans,
)
from ahpcl.core.clustering.prototypes import PrototypeLevel
from ahpcl.core.metrics.feature_health import (
    alignment,
    mean_cosine,
    spread,
    uniformity,
)

quick = settings(max_examples=30, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31 - 1)
KINDS = ('plain', 'duplicates', 'constant', 'tiny', 'huge', 'zeros among')


def points(seed, number, dim, kind='plain'):
    """Rows (N, D), normalised where they have a direction.

    Those that are 'huge' keep a length of about 1e15.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(number, dim, generator=generator)
    if kind == 'duplicates':
        rows = rows[torch.arange(number) % max(1, number // 3)]
    elif kind == 'constant':
        rows = rows[:1].expand(number, dim).clone()
    elif kind == 'tiny':
        rows = rows * 1e-30
    rows = F.normalize(rows.double(), dim=1).float()
    if kind == 'huge':
        rows = rows * 1e15
    if kind == 'zeros among':
        rows[::3] = 0
    return rows


def rotation(seed, dim):
    generator = torch.Generator().manual_seed(seed + 1)
    square = torch.randn(dim, dim, generator=generator, dtype=torch.double)
    return torch.linalg.qr(square)[0].float()


@quick
@given(
    seeds,
    st.integers(1, 40),
    st.integers(1, 9),
    st.sampled_from(KINDS),
    st.data(),
)
@pytest.mark.filterwarnings('ignore')
def test_kmeans_answers_in_every_case(seed, number, dim, kind, data):
    k = data.draw(st.sampled_from(sorted({1, (number + 1) // 2, number})))
    rows = points(seed, number, dim, kind)
    found = spherical_kmeans(
        rows, k, KMeansSettings(n_init=1, n_iter=5), seed=0
    )
    assert found.centroids.shape == (k, dim)
    assert found.centroids.isfinite().all()
    norms = found.centroids.norm(dim=1)
    assert ((norms - 1).abs() < 1e-4).logical_or(norms < 1e-4).all()
    assert int(found.assignments.min()) >= 0
    assert int(found.assignments.max()) < k
    # Every point has one of the nearest centroids.
    if kind != 'zeros among':
        cosine = rows @ found.centroids.t()
        own = cosine.gather(1, found.assignments[:, None])[:, 0]
        slack = 1e-4 * rows.norm(dim=1).clamp(min=1)
        assert (own >= cosine.max(1).values - slack).all()
    phi = concentration(found.distances, found.assignments, k)
    assert (phi > 0).all() and phi.isfinite().all()
    assert float(phi.mean()) == pytest.approx(0.2, rel=0.05)


@quick
@given(seeds, st.integers(12, 60), st.integers(2, 8), st.integers(2, 6))
def test_a_rotation_of_the_features_changes_no_cluster(seed, number, dim, k):
    rows = points(seed, number, dim)
    init = points(seed + 7, k, dim)
    turn = rotation(seed, dim)
    few = KMeansSettings(n_iter=3, backend='torch')
    plain = spherical_kmeans(rows, k, few, init=init)
    turned = spherical_kmeans(rows @ turn, k, few, init=init @ turn)
    # Points as near to two centroids may go to either.
    assert plain.objective == pytest.approx(turned.objective, abs=2e-2)
    same = (plain.assignments == turned.assignments).float().mean()
    assert same > 0.8


@quick
@given(seeds, st.integers(6, 50), st.integers(2, 8), st.integers(1, 5))
def test_the_order_of_images_changes_no_cluster(seed, number, dim, k):
    rows = points(seed, number, dim)
    init = points(seed + 7, k, dim)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(number, generator=generator)
    single = KMeansSettings(n_iter=1, backend='torch')
    one = spherical_kmeans(rows, k, single, init=init)
    other = spherical_kmeans(rows[order], k, single, init=init)
    torch.testing.assert_close(
        one.centroids, other.centroids, atol=1e-4, rtol=0
    )
    phi = concentration(one.distances, one.assignments, k)
    moved = concentration(one.distances[order], one.assignments[order], k)
    torch.testing.assert_close(phi, moved)


@quick
@given(seeds, st.integers(2, 80), st.integers(1, 9), st.integers(1, 9))
def test_names_of_clusters_do_not_count(seed, number, k, classes):
    generator = torch.Generator().manual_seed(seed)
    clusters = torch.randint(k, (number,), generator=generator)
    labels = torch.randint(classes, (number,), generator=generator)
    renamed = torch.randperm(k, generator=generator)[clusters]
    for measure in (purity, hungarian_accuracy, pair_precision):
        one, other = measure(clusters, labels), measure(renamed, labels)
        assert one == pytest.approx(other, nan_ok=True)
    one = clustering_agreement(clusters, labels)
    other = clustering_agreement(renamed, labels)
    mirrored = clustering_agreement(labels, clusters)
    for name in ('nmi', 'ami', 'ari'):
        value = getattr(one, name)
        assert value == pytest.approx(getattr(other, name), abs=1e-9)
        assert value == pytest.approx(getattr(mirrored, name), abs=1e-9)
        assert value <= 1 + 1e-9
    assert clustering_agreement(clusters, renamed).nmi == pytest.approx(1)


@quick
@given(seeds, st.integers(1, 30), st.integers(1, 10), st.integers(1, 40))
def test_neighbours_after_a_rotation_and_in_another_scale(
    seed, number, queries, k
):
    rows, others = points(seed, number, 6), points(seed + 3, queries, 6)
    labels = torch.arange(number) % 4
    turn = rotation(seed, 6)
    found = knn_classify(rows, labels, others, k=k)
    for large, small in ((4, 0.5), (2.0**50, 2.0**-30), (2.0**60, 2.0**60)):
        scaled = knn_classify(rows * large, labels, others * small, k=k)
        assert torch.equal(found, scaled)
    turned = knn_classify(rows @ turn, labels, others @ turn, k=k)
    # A tie within rounding may fall to the other class.
    assert (found == turned).float().mean() >= 1 - 1.1 / queries
    one = knn_classify(rows, labels, others[:1], k=k)
    assert torch.equal(one, found[:1])


@quick
@given(seeds, st.integers(1, 12), st.integers(1, 20), st.integers(2, 8))
def test_losses_after_a_rotation_and_in_another_order(seed, size, k, dim):
    query, key = points(seed, size, dim), points(seed + 1, size, dim)
    queue = points(seed + 2, 15, dim).t().contiguous()
    turn = rotation(seed, dim)
    order = torch.randperm(size)
    loss, accuracy = info_nce(query, key, queue)
    turned, _ = info_nce(query @ turn, key @ turn, turn.t() @ queue)
    torch.testing.assert_close(loss, turned, atol=1e-4, rtol=1e-4)
    assert 0 <= float(accuracy) <= 100 and loss.isfinite()
    images = torch.randperm(30)[:size]
    level = PrototypeLevel(
        points(seed + 4, k, dim), torch.arange(30) % k, torch.full((k,), 0.2)
    )
    for negatives in ('unique', 'batch'):
        one, right = proto_nce(query, level, images, negatives=negatives)
        other, same = proto_nce(
            query[order], level, images[order], negatives=negatives
        )
        torch.testing.assert_close(one, other)
        assert one.isfinite() and one >= -1e-6
        if negatives == 'unique':
            assert float(right) == pytest.approx(float(same))
            assert one <= math.log(k) + 2 / 0.2 + 1e-3
        else:
            distinct = len(set((images % k).tolist()))
            assert float(right) <= 100 * distinct / size + 1e-3


@quick
@given(
    seeds,
    st.integers(8, 60),
    st.sampled_from(['independent', 'agglomerative', 'divisive']),
    st.sampled_from(['plain', 'duplicates', 'constant', 'huge']),
)
@pytest.mark.filterwarnings('ignore')
def test_a_hierarchy_covers_all_images(seed, number, linkage, kind):
    rows = points(seed, number, 5, kind)
    found = build_hierarchy(
        rows,
        (4, 2),
        KMeansSettings(n_init=1, n_iter=4),
        linkage=linkage,
        seed=0,
    )
    fine, coarse = found.levels
    for level, k in ((fine, 4), (coarse, 2)):
        assert level.num_clusters == k
        assert len(level.assignments) == number
        assert level.centroids.isfinite().all()
        assert (level.concentration > 0).all()
    if linkage != 'independent':  # every cluster has one parent
        pairs = torch.stack([fine.assignments, coarse.assignments], 1)
        assert len(pairs.unique(dim=0)) == len(fine.assignments.unique())


@quick
@given(seeds, st.integers(4, 40), st.integers(2, 6))
@pytest.mark.filterwarnings('ignore')
def test_what_normalises_does_not_see_the_length(seed, number, dim):
    plain = points(seed, number, dim)
    huge = points(seed, number, dim, 'huge')
    other = points(seed + 1, number, dim)
    for measure in (uniformity, mean_cosine, spread):
        assert measure(huge) == pytest.approx(measure(plain), abs=1e-4)
    found = alignment(huge, other * 1e15)
    assert found == pytest.approx(alignment(plain, other), rel=1e-4)


@quick
@given(seeds, st.integers(4, 40), st.integers(2, 6))
def test_lengths_that_overflow_are_refused(seed, number, dim):
    rows = points(seed, number, dim) * 1e25
    with pytest.raises(ValueError, match='an overflow in'):
        spherical_kmeans(rows, 2, KMeansSettings(n_init=1, n_iter=2))
    with pytest.raises(ValueError, match='an overflow in'):
        build_hierarchy(rows, (4, 2), KMeansSettings(n_init=1, n_iter=2))
