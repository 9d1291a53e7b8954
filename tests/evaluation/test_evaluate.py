"""All tasks on one checkpoint, on a short run on the digits."""

import importlib
import json

import pytest
import torch
from mmengine.config import Config

from ahpcl.core import clustering_agreement, knn_accuracy
from ahpcl.evaluation.evaluate import evaluate, raw_images
from ahpcl.evaluation.run_data import RunData
from ahpcl.evaluation.tasks import DEFAULT, TASKS, build_tasks


@pytest.fixture
def config(toy_run):
    config = Config.fromfile(toy_run.config)
    config.evaluation = dict(
        knn=[dict(type='KNNMetric', k=[1, 20])],
        fewshot=[dict(type='FewShotMetric', shots=1, episodes=20)],
    )
    return config


@pytest.fixture
def run(toy_run, config, tmp_path):
    return RunData(config, toy_run.checkpoint, cache=tmp_path / 'cache')


def never_extract(monkeypatch):
    def extract(*arguments):
        pytest.fail('features were extracted')

    from ahpcl.evaluation import run_data

    for name in ('training_features', 'evaluation_features'):
        monkeypatch.setattr(run_data, name, extract)


def test_metrics_are_those_of_the_features(run):
    saved = []
    found = evaluate(
        run,
        ['knn', 'cluster'],
        save=lambda results: saved.append(dict(results['metrics'])),
    )
    data = run.evaluation
    expected = knn_accuracy(
        data.features[~data.query],
        data.labels[~data.query],
        data.features[data.query],
        data.labels[data.query],
        k=20,
    )
    assert found['metrics']['knn/top1_k20'] == pytest.approx(expected)
    assert (found['images'], found['queries']) == (1797, 355)
    assert found['seen_classes'] == found['classes'] == 10
    # After every task, so that none is lost.
    assert len(saved) == 2
    assert 'cluster/nmi' not in saved[0]
    assert saved[1] == found['metrics']


def test_prototypes_are_compared_with_the_training_labels(run):
    found = evaluate(run, ['cluster'])['prototypes']
    assert found['own']
    assert found['images'] == 240
    labels = run.training.labels
    for row, level in zip(found['levels'], run.hierarchy.levels, strict=True):
        agreement = clustering_agreement(labels, level.assignments)
        assert row['clusters'] == level.num_clusters
        assert row['nmi'] == pytest.approx(agreement.nmi)
        assert row['ari'] == pytest.approx(agreement.ari)


@pytest.mark.parametrize('task', ['knn', 'linear', 'fewshot', 'svm'])
def test_labels_are_missed_before_extraction(
    config, toy_run, monkeypatch, task
):
    config.test_dataloader = config.val_dataloader = None
    never_extract(monkeypatch)
    with pytest.raises(ValueError, match=f'{task}: expected .*label'):
        evaluate(RunData(config, toy_run.checkpoint), [task])


def test_what_needs_no_labels_is_measured_without(config, toy_run):
    config.test_dataloader = config.val_dataloader = None
    dataset = config.custom_hooks[0].extract_dataloader.dataset
    run = RunData(config, toy_run.checkpoint)
    found = evaluate(run)
    assert found['images'] == dataset.limit == 240
    assert found['seen_classes'] is None
    assert 'health/rankme' in found['metrics']
    assert 'health/alignment' in found['metrics']
    assert not any(name.startswith('knn') for name in found['metrics'])
    json.dumps(found)


def test_one_task_without_labels_runs_alone(config, toy_run, monkeypatch):
    config.test_dataloader = config.val_dataloader = None
    module = importlib.import_module('ahpcl.evaluation.evaluate')
    monkeypatch.setattr(
        module, 'prototype_quality', lambda run: pytest.fail('cluster ran')
    )
    found = evaluate(RunData(config, toy_run.checkpoint), ['health'])
    assert list(found['tasks']) == ['health']
    assert set(found['seconds']) == {'features', 'health'}
    assert set(found['metrics']) == set(found['tasks']['health'])
    assert all(name.startswith('health/') for name in found['metrics'])
    assert 'prototypes' not in found


def test_too_few_images_are_missed_before_extraction(
    config, toy_run, monkeypatch
):
    config.evaluation.fewshot = [
        dict(type='FewShotMetric', ways=11),
        dict(type='FewShotMetric', shots=40),
    ]
    never_extract(monkeypatch)
    with pytest.raises(ValueError, match='11 classes') as caught:
        evaluate(RunData(config, toy_run.checkpoint), ['fewshot', 'knn'])
    assert '55 images' in str(caught.value)  # all that is wrong, at once


def test_an_unknown_task_is_named():
    with pytest.raises(ValueError, match=r'among knn, .*, got knm'):
        build_tasks(['knn', 'knm'])
    assert set(DEFAULT) < set(TASKS)


def test_fine_tuning_gets_the_images_of_the_loader(run):
    images = raw_images(run)
    assert images.shape == (1797, 3, 16, 16)
    assert images.dtype == torch.uint8
    dataset = run.evaluation_loader.dataset
    for index in (0, 1700):
        image = dataset.get_data_info(index)['img'].transpose(2, 0, 1)
        assert torch.equal(images[index], torch.from_numpy(image.copy()))
