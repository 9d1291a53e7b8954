"""A fresh k-means as a metric of features."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import normalized_mutual_info_score

from ahpcl.core import KMeansSettings, spherical_kmeans
from ahpcl.core.metrics.cluster_quality import grouping_report
from ahpcl.evaluation import ClusterMetric


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(30)
    centres = torch.randn(3, 8, generator=generator)
    features = centres[labels] + torch.randn(90, 8, generator=generator)
    return features, labels, torch.arange(90) % 2 == 0


def test_it_is_a_k_means_of_all_images(data):
    features, labels, query = data
    found = ClusterMetric().measure(features, labels, query)
    rows = F.normalize(features, dim=1)
    result = spherical_kmeans(
        rows, 3, KMeansSettings(n_iter=50, n_init=10), seed=0
    )
    assert found == grouping_report(rows, result.assignments, labels)
    assert {'nmi', 'ami', 'ari', 'hungarian', 'purity'} < set(found)


def test_several_counts_have_keys_of_their_own(data):
    found = ClusterMetric(num_clusters=[2, 5]).measure(*data)
    assert {'k2/nmi', 'k5/nmi', 'k5/size_max'} < set(found)
    alone = ClusterMetric(num_clusters=5).measure(*data)
    assert alone['nmi'] == found['k5/nmi']


def test_without_labels_it_says_what_it_can(data):
    features, labels, query = data
    none = torch.full_like(labels, -1)
    found = ClusterMetric(num_clusters=4).measure(features, none, query)
    assert 'silhouette' in found
    assert 'nmi' not in found
    with pytest.raises(ValueError, match='or num_clusters'):
        ClusterMetric().check(none, query)


def test_more_clusters_than_images_are_refused(data):
    _, labels, query = data
    with pytest.raises(ValueError, match='at most 90 clusters'):
        ClusterMetric(num_clusters=[3, 91]).check(labels, query)


@pytest.mark.parametrize('count', [0, [3, 0], 2.5, 'ten'])
def test_a_number_that_is_none_is_refused(data, count):
    _, labels, query = data
    with pytest.raises(ValueError, match='num_clusters'):
        ClusterMetric(num_clusters=count).check(labels, query)


def test_images_without_a_label_count_for_no_agreement(data):
    features, labels, query = data
    some = labels.clone()
    some[::2] = -1
    found = ClusterMetric(num_clusters=3).measure(features, some, query)
    rows = F.normalize(features, dim=1)
    result = spherical_kmeans(
        rows, 3, KMeansSettings(n_iter=50, n_init=10), seed=0
    )
    nmi = normalized_mutual_info_score(labels[1::2], result.assignments[1::2])
    assert found['nmi'] == pytest.approx(nmi)
    sizes = result.assignments.bincount()  # of all images
    assert found['size_min'] == int(sizes.min())
    assert found['size_max'] == int(sizes.max())


def test_what_is_scored_may_be_held_out_of_the_fit(data):
    features, labels, query = data
    found = ClusterMetric(fit='reference').measure(features, labels, query)
    rows = F.normalize(features, dim=1)
    fitted = spherical_kmeans(
        rows[~query], 3, KMeansSettings(n_iter=50, n_init=10), seed=0
    )
    nearest = [
        max(range(3), key=lambda c: float(row @ fitted.centroids[c]))
        for row in rows[query]
    ]
    expected = normalized_mutual_info_score(labels[query], nearest)
    assert found['nmi'] == pytest.approx(expected)
    # A k-means of all images is another one.
    assert ClusterMetric().measure(*data)['nmi'] != found['nmi']


def test_a_fit_on_references_needs_both_roles(data):
    _, labels, query = data
    with pytest.raises(ValueError, match='with the role reference'):
        ClusterMetric(fit='reference').check(labels, torch.ones_like(query))
    with pytest.raises(ValueError, match="'all' or 'reference', got 'query'"):
        ClusterMetric(fit='query')
