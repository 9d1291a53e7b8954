"""Fine-tuning on a few labels, and metrics in a validation loop."""

import copy
import json

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from ahpcl.evaluation.evaluate import raw_images
from ahpcl.evaluation.finetune_metric import FineTuneMetric, _augmented
from ahpcl.evaluation.run_data import RunData
from toy import toy_config


@pytest.fixture(scope='module')
def run(toy_run):
    config = Config.fromfile(toy_run.config)
    for part in config.test_dataloader.dataset.datasets:
        part.limit = 200
    return RunData(config, toy_run.checkpoint)


def test_more_labels_teach_more_and_the_model_stays(run):
    before = copy.deepcopy(run.model.state_dict())
    state = torch.get_rng_state()
    labels, query = run.evaluation_roles()
    images = raw_images(run)
    metric = FineTuneMetric(fractions=(0.05, 0.8), flip=False, backbone_lr=0.1)
    found = metric.fine_tune(run.model, images, labels, query)
    assert list(found) == ['top1_5pct', 'top1_80pct']
    assert found['top1_80pct'] > found['top1_5pct'] > 15
    assert found['top1_80pct'] > 70
    assert found == metric.fine_tune(run.model, images, labels, query)
    assert not run.model.training
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_it_starts_from_the_encoder(run):
    """A backbone that hardly moves leaves a linear layer on its features."""
    labels, query = run.evaluation_roles()
    metric = FineTuneMetric(
        fractions=(0.9,), backbone_lr=0.0, lr=0.5, flip=False, padding=0
    )
    trained = metric.fine_tune(run.model, raw_images(run), labels, query)
    scrambled = copy.deepcopy(run.model)
    for parameter in scrambled.backbone.parameters():
        torch.nn.init.zeros_(parameter)
    lost = metric.fine_tune(scrambled, raw_images(run), labels, query)
    assert lost['top1_90pct'] <= 15  # one answer for all
    assert trained['top1_90pct'] > lost['top1_90pct'] + 10


def test_crops_and_flips_are_those_of_slow_loops():
    images = torch.arange(2 * 3 * 5 * 4).view(2, 3, 5, 4)
    found = _augmented(images, 2, True, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    moves = torch.randint(5, (2, 2), generator=generator)
    turned = torch.rand(2, generator=generator) < 0.5
    for i in range(2):
        for y in range(5):
            for x in range(4):
                column = 3 - x if turned[i] else x
                row = y + int(moves[i, 0]) - 2
                column += int(moves[i, 1]) - 2
                inside = 0 <= row < 5 and 0 <= column < 4
                expected = images[i, :, row, column] if inside else 0
                assert bool((found[i, :, y, x] == expected).all())
    assert torch.equal(_augmented(images, 0, False, torch.Generator()), images)


def test_every_task_is_a_metric_of_the_validation(tmp_path):
    config = toy_config(tmp_path)
    config.train_cfg.update(max_epochs=1, val_interval=1)
    for part in config.val_dataloader.dataset.datasets:
        part.limit = 200
    config.val_evaluator = [
        dict(type='KNNMetric', k=[1, 20], weighted='both'),
        dict(type='LinearMetric', protocol='logreg', grid=[0.01]),
        dict(type='LinearMetric', protocol='sgd', grid=[0.1], epochs=2),
        dict(type='FewShotMetric', episodes=10, classifier='cosine'),
        dict(type='ClusterMetric', n_init=1),
        dict(type='SVMMetric', shots=[1, 4], draws=2, full=False),
        dict(type='FineTuneMetric', fractions=[0.1], least_steps=5, epochs=1),
        dict(type='HealthMetric'),
    ]
    config.custom_hooks.append(dict(type='ModelAccessHook'))
    Runner.from_cfg(config).train()
    (file,) = tmp_path.glob('*/vis_data/scalars.json')
    row = json.loads(file.read_text().splitlines()[-1])
    expected = {
        *('knn/top1_k1', 'knn/top1_k20_majority', 'linear/logreg_top1'),
        *('linear/sgd_top5', 'linear/sgd_lr', 'fewshot/5way_1shot_cosine'),
        *('cluster/nmi', 'cluster/purity', 'svm/k4', 'svm/k4_std'),
        *('semisup/top1_10pct', 'health/rankme'),
    }
    assert expected <= set(row)


def test_without_the_model_it_says_what_to_do(run):
    labels, query = run.evaluation_roles()
    with pytest.raises(ValueError, match='ModelAccessHook'):
        FineTuneMetric().measure(raw_images(run), labels, query)
    with pytest.raises(ValueError, match='between 0 and 1, got 10'):
        FineTuneMetric(fractions=[10])
    with pytest.raises(ValueError, match='images with labels'):
        FineTuneMetric().check(torch.full_like(labels, -1), query)
