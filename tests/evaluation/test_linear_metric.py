"""A linear classifier as a metric of features."""

import pytest
import torch

from ahpcl.core.metrics.linear_probe import logistic_probe
from ahpcl.evaluation.linear_metric import LinearMetric


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(7).repeat_interleave(30)
    centres = torch.randn(7, 8, generator=generator)
    features = centres[labels] + torch.randn(210, 8, generator=generator)
    return features, labels, torch.arange(210) % 3 == 0


def test_it_learns_from_references_and_tests_on_queries(data):
    features, labels, query = data
    found = LinearMetric(grid=[0.1]).measure(features, labels, query)
    (scores,) = logistic_probe(
        features[~query], labels[~query], features[query], [0.1]
    )
    hits = scores.argmax(1) == labels[query]
    assert found['logreg_top1'] == pytest.approx(
        100 * float(hits.double().mean())
    )
    assert found['logreg_C'] == 0.1
    top5 = (scores.topk(5).indices == labels[query][:, None]).any(1)
    assert found['logreg_top5'] == pytest.approx(
        100 * float(top5.double().mean())
    )


def test_a_choice_at_the_edge_is_told(data, monkeypatch):
    said = []
    monkeypatch.setattr(
        'ahpcl.evaluation.linear_metric.print_log',
        lambda text, **_: said.append(text),
    )
    metric = LinearMetric('sgd', grid=[0.1, 1e3, 1e4], epochs=3)
    found = metric.measure(*data)
    assert found['sgd_lr'] == pytest.approx(0.1)
    (line,) = said
    assert 'lr = 0.1 was chosen, at the edge of the grid' in line


def test_what_cannot_be_learnt_is_refused(data):
    _, labels, query = data
    with pytest.raises(ValueError, match='images with labels'):
        LinearMetric().check(torch.full_like(labels, -1), query)
    with pytest.raises(ValueError, match='got 0 of class 6'):
        LinearMetric().check(labels, query | (labels == 6))
    with pytest.raises(ValueError, match='two classes'):
        LinearMetric().check(torch.zeros_like(labels), query)
    with pytest.raises(ValueError, match="'logreg' or 'sgd'"):
        LinearMetric('lda')
