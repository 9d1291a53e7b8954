"""Health of features as a metric, without labels."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger

from ahpcl.core.metrics.feature_health import (
    mean_cosine,
    rankme,
    spread,
    uniformity,
)
from ahpcl.evaluation.health_metric import HealthMetric


@pytest.fixture
def features():
    return torch.randn(60, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def said():
    """What the project's logger is told meanwhile."""

    class Kept(logging.Handler):
        def emit(self, record):
            lines.append((record.levelname, record.getMessage()))

    lines = []
    logger, handler = MMLogger.get_current_instance(), Kept()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def test_it_needs_no_labels_and_takes_all_images(features, said):
    metric = HealthMetric()
    samples = [
        dict(feature=row, role='reference' if i % 2 else 'query')
        for i, row in enumerate(features)
    ]
    metric.process({}, samples[:40])
    metric.process({}, samples[40:])
    found = metric.evaluate(60)
    assert found == pytest.approx(
        {
            'health/rankme': rankme(features),
            'health/uniformity': uniformity(features),
            'health/mean_cosine': mean_cosine(features),
            'health/spread': spread(features),
        }
    )
    assert not [line for line in said if line[0] == 'WARNING']


def test_collapse_is_a_warning(features, said):
    none = torch.full((60,), -1)
    same = torch.ones(60, 8) + 1e-5 * features
    found = HealthMetric().measure(same, none, none < 0)
    assert found['mean_cosine'] > 0.999
    told = [text for level, text in said if level == 'WARNING']
    assert len(told) == 3
    assert 'RankMe 1.0' in told[0]


def test_a_single_image_is_refused():
    with pytest.raises(ValueError, match='got 1'):
        HealthMetric().check(torch.tensor([-1]), torch.tensor([True]))
