"""Low-shot SVMs as a metric of features."""

import pytest
import torch

from ahpcl.core.metrics.low_shot import low_shot_svm
from ahpcl.evaluation.svm_metric import SVMMetric


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(12)
    centres = torch.randn(4, 8, generator=generator)
    features = centres[labels] + torch.randn(48, 8, generator=generator)
    return features, labels, torch.arange(48) % 4 == 0


def test_a_key_for_every_number_that_all_classes_have(data):
    features, labels, query = data
    found = SVMMetric(draws=3).measure(features, labels, query)
    assert list(found) == [  # nine references of each
        *('k1', 'k1_std', 'k2', 'k2_std', 'k4', 'k4_std', 'k8', 'k8_std'),
        'full',
    ]
    expected = low_shot_svm(
        features[~query],
        labels[~query],
        features[query],
        labels[query],
        shots=4,
        draws=3,
    )
    assert (found['k4'], found['k4_std']) == expected[:2]


def test_what_cannot_be_learnt_is_refused(data):
    _, labels, query = data
    with pytest.raises(ValueError, match='images with labels'):
        SVMMetric().check(torch.full_like(labels, -1), query)
    with pytest.raises(ValueError, match='10 references'):
        SVMMetric(shots=[10, 20]).check(labels, query)
    with pytest.raises(ValueError, match='queries of 48'):
        SVMMetric().check(labels, torch.zeros_like(query))
