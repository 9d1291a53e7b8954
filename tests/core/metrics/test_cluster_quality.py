import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics

from ahpcl.core.metrics.cluster_quality import (
    confusion,
    grouping_report,
    level_agreement,
    silhouette,
)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (120,), generator=generator)
    centres = torch.randn(4, 6, generator=generator)
    noise = torch.randn(120, 6, generator=generator)
    clusters = labels.clone()
    moved = torch.rand(120, generator=generator) < 0.3
    clusters[moved] = torch.randint(0, 5, (120,), generator=generator)[moved]
    return centres[labels] + 0.5 * noise, clusters, labels


def slow_silhouette(features, clusters):
    """From the definition, image by image."""
    rows = F.normalize(features.double(), dim=1)
    distance = 1 - rows @ rows.t()
    values = []
    for i, own in enumerate(clusters.tolist()):
        mates = [j for j in range(len(rows)) if clusters[j] == own and j != i]
        if not mates:
            values.append(0.0)
            continue
        inside = float(distance[i, mates].mean())
        outside = min(
            float(distance[i, clusters == other].mean())
            for other in set(clusters.tolist()) - {own}
        )
        values.append((outside - inside) / max(outside, inside))
    return sum(values) / len(values)


def test_silhouette_is_that_of_its_definition(data):
    features, clusters, _ = data
    expected = slow_silhouette(features, clusters)
    assert silhouette(features, clusters) == pytest.approx(expected, abs=1e-9)


def test_silhouette_of_a_sample_repeats_and_is_near(data):
    features, clusters, _ = data
    whole = silhouette(features, clusters)
    part = silhouette(features, clusters, sample=80, seed=3)
    assert part == silhouette(features, clusters, sample=80, seed=3)
    assert part != whole
    assert abs(part - whole) < 0.2


def test_silhouette_of_one_cluster_is_unknown(data):
    features, clusters, _ = data
    assert np.isnan(silhouette(features, torch.zeros_like(clusters)))
    assert np.isnan(silhouette(features[:5], torch.arange(5)))


def test_a_report_with_labels_agrees_with_scikit_learn(data):
    features, clusters, labels = data
    found = grouping_report(features, clusters, labels)
    pair = labels.numpy(), clusters.numpy()
    assert found['nmi'] == pytest.approx(
        metrics.normalized_mutual_info_score(*pair)
    )
    assert found['ami'] == pytest.approx(
        metrics.adjusted_mutual_info_score(*pair)
    )
    assert found['ari'] == pytest.approx(metrics.adjusted_rand_score(*pair))
    table = np.zeros((5, 5))
    for cluster, label in zip(clusters.tolist(), labels.tolist(), strict=True):
        table[cluster, label] += 1
    best = max(
        sum(table[i, p] for i, p in enumerate(order))
        for order in itertools.permutations(range(5))
    )
    assert found['hungarian'] == pytest.approx(100 * best / 120)
    assert found['purity'] == pytest.approx(100 * table.max(1).sum() / 120)
    assert found['size_max'] == int(clusters.bincount().max())
    assert found['empty'] == 0


def test_a_report_without_labels_says_what_it_can(data):
    features, clusters, _ = data
    found = grouping_report(features, clusters, num_clusters=7)
    assert set(found) == {
        *('silhouette', 'size_min', 'size_median', 'size_max', 'empty')
    }
    assert found['empty'] == 2
    assert found == grouping_report(
        features, clusters, torch.full_like(clusters, -1), num_clusters=7
    )


def test_images_without_a_label_do_not_count_for_agreement(data):
    features, clusters, labels = data
    some = labels.clone()
    some[::3] = -1
    found = grouping_report(features, clusters, some)
    known = some >= 0
    assert found['nmi'] == pytest.approx(
        metrics.normalized_mutual_info_score(labels[known], clusters[known])
    )


def test_nested_levels_agree_and_independent_ones_less():
    generator = torch.Generator().manual_seed(1)
    fine = torch.randint(0, 12, (300,), generator=generator)
    nested = fine // 4
    other = torch.randint(0, 3, (300,), generator=generator)
    rows = level_agreement([fine, nested, other])
    assert [(r['fine'], r['coarse']) for r in rows] == [(0, 1), (0, 2), (1, 2)]
    assert rows[0]['nested'] == 100
    assert rows[1]['nested'] < 70
    assert rows[0]['ami'] > 0.5 > 0.1 > rows[1]['ami']


def test_confusion_has_the_best_match_on_its_diagonal(data):
    _, clusters, labels = data
    found = confusion(clusters, labels)
    for r, cluster in enumerate(found.clusters.tolist()):
        for c, label in enumerate(found.classes.tolist()):
            both = (clusters == cluster) & (labels == label)
            assert found.table[r, c] == int(both.sum())
    assert sorted(found.clusters.tolist()) == [0, 1, 2, 3, 4]
    assert sorted(found.classes.tolist()) == [0, 1, 2, 3]
    assert found.matched == 4
    diagonal = found.table.diagonal()[:4].tolist()
    assert diagonal == sorted(diagonal, reverse=True)
    best = grouping_report(torch.rand(120, 2), clusters, labels)['hungarian']
    assert sum(diagonal) == pytest.approx(best * 120 / 100)


def test_what_does_not_fit_is_refused(data):
    features, clusters, labels = data
    with pytest.raises(ValueError, match='one cluster'):
        silhouette(features, clusters[:5])
    with pytest.raises(ValueError, match=r'label.* 120'):
        grouping_report(features, clusters, labels[:5])
    with pytest.raises(ValueError, match='one image'):
        grouping_report(features[:0], clusters[:0])
    with pytest.raises(ValueError, match='got none'):
        confusion(clusters[:0], labels[:0])
