"""How many kinds, as a metric of features and as a task on a run."""

import json

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from ahpcl.core.metrics import CountSettings, count_kinds
from ahpcl.evaluation import CountMetric, evaluate
from ahpcl.evaluation.count_metric import _grey, grey_views, numbers_of
from ahpcl.evaluation.run_data import RunData
from toy import toy_method, train


@pytest.fixture(scope='module')
def run(toy_run):
    return RunData(Config.fromfile(toy_run.config), toy_run.checkpoint)


def test_its_numbers_are_those_of_the_count():
    source = torch.Generator().manual_seed(0)
    kinds = torch.randn(3, 8, generator=source).repeat(80, 1)
    rows = kinds + 0.1 * torch.randn(240, 8, generator=source)
    metric = CountMetric(max_kinds=5)
    found = metric.measure(rows, torch.full((240,), -1), torch.ones(240) > 0)
    expected = count_kinds(rows, CountSettings(max_kinds=5))
    assert found['kinds'] == found['best'] == expected.number == 3
    assert (found['low'], found['high']) == expected.interval
    assert found['support'] == expected.best.support
    assert 'views' not in found


def test_what_is_not_determined_is_not_logged():
    assert numbers_of(count_kinds(torch.eye(4))) == {}
    source = torch.Generator().manual_seed(0)
    cloud = torch.randn(80, 8, generator=source)
    found = CountMetric(max_kinds=4).count(cloud)
    assert found.number is None
    assert 'kinds' not in numbers_of(found) and 'best' in numbers_of(found)


def test_a_run_is_counted_where_its_prototypes_live(run):
    run.config.evaluation = dict(count=[dict(type='CountMetric', max_kinds=4)])
    found = evaluate(run, ['count'])
    kinds = found['kinds']
    expected = count_kinds(run.points, CountSettings(max_kinds=4))
    assert kinds['images'] == len(run.points) == 240
    assert [row['agreement'] for row in kinds['candidates']] == [
        row.agreement for row in expected.candidates
    ]
    # The digits are grey: that view is the same one.
    assert all(row['views'] > 0.97 for row in kinds['candidates'])
    assert found['tasks']['count'] == list(found['metrics'])
    assert found['metrics']['count/best'] == expected.best.clusters
    json.dumps(found)


def test_grey_views_are_of_the_same_images(run):
    points, grey = grey_views(run, 50)
    assert points.shape == grey.shape == (50, run.points.shape[1])
    assert torch.equal(points[1], run.points[4])  # every 4.8th
    assert float(F.cosine_similarity(points, grey).min()) > 0.99


def test_grey_is_the_mean_of_three_bands():
    image = torch.tensor([[[10]], [[20]], [[61]]], dtype=torch.uint8)
    first, _ = _grey([image, image])
    assert first.dtype == torch.uint8 and first.tolist() == [[[30]]] * 3
    with pytest.raises(ValueError, match='three bands'):
        _grey(image[:2])


def test_where_clusters_are_whitened_the_features_are_counted(tmp_path):
    train(toy_method('ahpcl', tmp_path, epochs=2))
    (file,) = tmp_path.glob('*.py')
    run = RunData(Config.fromfile(file), tmp_path / 'epoch_2.pth')
    expected = F.normalize(run.training.features, dim=1)
    assert torch.equal(run.kind_rows, expected)
    assert not torch.allclose(run.points, expected, atol=0.1)
    features, grey = grey_views(run, 50)
    assert torch.equal(features[1], expected[6])  # every 6.4th
    assert float(F.cosine_similarity(features, grey).min()) > 0.99
    torch.testing.assert_close(grey.norm(dim=1), torch.ones(50))
