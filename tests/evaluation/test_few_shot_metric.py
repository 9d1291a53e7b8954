"""Few-shot classification as a metric of features."""

import pytest
import torch

from ahpcl.core.metrics.episodes import few_shot_episodes
from ahpcl.evaluation import FewShotMetric


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(6).repeat_interleave(40)
    centres = torch.randn(6, 16, generator=generator)
    features = centres[labels] + torch.randn(240, 16, generator=generator)
    query = torch.arange(240) % 4 != 0
    return features, labels, query


def test_a_key_for_every_shot_and_classifier(data):
    features, labels, query = data
    classifiers = ['nearest_centroid', 'logistic_regression', 'cosine']
    metric = FewShotMetric(shots=[1, 5], episodes=30, classifier=classifiers)
    found = metric.measure(features, labels, query)
    names = ['', '_logistic_regression', '_cosine']
    keys = [f'5way_{shots}shot{name}' for shots in (1, 5) for name in names]
    assert list(found) == [k + e for k in keys for e in ('', '_ci95')]
    # Only the queries take part.
    expected = few_shot_episodes(
        features[query],
        labels[query],
        shots=5,
        episodes=30,
        classifier='cosine',
    )
    assert found['5way_5shot_cosine'] == pytest.approx(expected.accuracy)
    assert found['5way_5shot_cosine_ci95'] == expected.half_width


def test_the_single_setting_keeps_its_keys(data):
    found = FewShotMetric(episodes=5, prefix='other').measure(*data)
    assert set(found) == {'5way_1shot', '5way_1shot_ci95'}
    found = FewShotMetric(ways=None, episodes=5).measure(*data)
    assert '6way_1shot' in found


def test_too_little_is_refused_before_features_are_there(data):
    _, labels, query = data
    with pytest.raises(ValueError, match='7 classes, got 6'):
        FewShotMetric(ways=7).check(labels, query)
    with pytest.raises(ValueError, match=r'35 images.*got 30'):
        FewShotMetric(shots=[1, 20]).check(labels, query)
    FewShotMetric(shots=15).check(labels, query)
    with pytest.raises(ValueError, match='images with labels'):
        FewShotMetric().check(torch.full_like(labels, -1), query)
    # Images without a label are no class.
    some = labels.masked_fill(labels == 5, -1)
    with pytest.raises(ValueError, match='6 classes, got 5'):
        FewShotMetric(ways=6).check(some, query)


def test_an_unknown_classifier_is_refused():
    with pytest.raises(ValueError, match='svm'):
        FewShotMetric(classifier=['cosine', 'svm'])
