"""Nearest neighbours as a metric of features."""

import pytest
import torch

from ahpcl.core import knn_accuracy
from ahpcl.evaluation import KNNMetric


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (200,), generator=generator)
    centres = torch.randn(4, 8, generator=generator)
    features = centres[labels] + torch.randn(200, 8, generator=generator)
    return features, labels, torch.arange(200) % 4 == 0


def expected(data, **settings):
    features, labels, query = data
    return pytest.approx(
        knn_accuracy(
            features[~query],
            labels[~query],
            features[query],
            labels[query],
            **settings,
        )
    )


def test_several_k_and_both_votes(data):
    found = KNNMetric(k=[1, 20], weighted='both').measure(*data)
    assert list(found) == [
        *('top1_k1', 'top1_k1_majority', 'top1_k20', 'top1_k20_majority')
    ]
    assert found['top1_k20'] == expected(data, k=20)
    assert found['top1_k20_majority'] == expected(data, k=20, weighted=False)


def test_a_single_k_keeps_its_key(data):
    assert KNNMetric(k=5).measure(*data) == {'top1': expected(data, k=5)}
    found = KNNMetric(k=5, weighted=False).measure(*data)
    assert found == {'top1': expected(data, k=5, weighted=False)}


def test_images_of_one_role_or_without_labels_are_refused(data):
    _, labels, query = data
    with pytest.raises(ValueError, match='got 200 queries of 200'):
        KNNMetric().check(labels, torch.ones_like(query))
    with pytest.raises(ValueError, match='images with labels'):
        KNNMetric().check(torch.full_like(labels, -1), query)
    with pytest.raises(ValueError, match="'both', got 'all'"):
        KNNMetric(weighted='all')
