"""Fine-tuning on a few labels, and metrics in a validation loop."""

import copy
import json
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner

from ahpcl.core.metrics.stratified import stratified_share
from ahpcl.core.seeding import seed_from
from ahpcl.evaluation.evaluate import raw_images
from ahpcl.evaluation.fine_tuning import augmented
from ahpcl.evaluation.finetune_metric import FineTuneMetric
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
    labels, query = run.evaluation_roles
    images = raw_images(run)
    state = torch.get_rng_state()
    metric = FineTuneMetric(fractions=(0.05, 0.8), flip=False, backbone_lr=0.1)
    found = metric.fine_tune(run.model, images, labels, query)
    assert list(found) == ['top1_5pct', 'top1_80pct']
    assert found['top1_80pct'] > found['top1_5pct'] > 15
    assert found['top1_80pct'] > 70
    assert not run.model.training
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, before[name]), name


class Small(torch.nn.Module):
    """An encoder whose every step can be written out."""

    def __init__(self, *, dropout=0.0):
        super().__init__()
        self.data_preprocessor = MODELS.build(
            dict(
                type='SelfSupDataPreprocessor',
                mean=(100, 110, 120),
                std=(50, 60, 70),
                bgr_to_rgb=True,
            )
        )
        self.backbone = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3),
            torch.nn.BatchNorm2d(4),
            torch.nn.ReLU(),
            torch.nn.Dropout(dropout),
        )


def tinted(number):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(number) % 3
    images = torch.randint(256, (number, 3, 6, 7), generator=generator)
    for colour in range(3):
        images[labels == colour, colour] += 40
    return images.clamp(max=255).to(torch.uint8), labels


def test_it_is_plain_gradient_descent_where_a_batch_is_all():
    """The order of the images has no say, so that a slow loop is simple."""
    images, labels = tinted(400)
    query = torch.arange(400) >= 60
    model = Small().train()
    metric = FineTuneMetric(
        fractions=(0.99,),  # one of every class is left out
        epochs=12,
        lr=0.1,
        backbone_lr=0.01,
        least_steps=0,
        padding=0,
        flip=False,
    )
    found = metric.fine_tune(model, images, labels, query)
    assert model.training

    share = stratified_share(
        labels[:60], 0.99, seed=seed_from(0, 'fine-tune', '0.99')
    )
    assert int(share.sum()) == 57
    scale = torch.tensor([50.0, 60, 70])[:, None, None]
    middle = torch.tensor([100.0, 110, 120])[:, None, None]
    rows = (images[:, [2, 1, 0]].float() - middle) / scale
    backbone, head = model.backbone, torch.nn.Linear(4, 3)
    head.weight.data.zero_()
    head.bias.data.zero_()
    rated = [(p, 0.01) for p in backbone.parameters()]
    rated += [(p, 0.1) for p in head.parameters()]
    speeds = [torch.zeros_like(p) for p, _ in rated]
    for step in range(12):
        logits = head(backbone(rows[:60][share]).mean((2, 3)))
        logs = logits.log_softmax(1)
        loss = -logs[torch.arange(57), labels[:60][share]].mean()
        slopes = torch.autograd.grad(loss, [p for p, _ in rated])
        cosine = (1 + math.cos(math.pi * step / 12)) / 2
        for (p, rate), speed, slope in zip(rated, speeds, slopes, strict=True):
            speed.mul_(0.9).add_(slope + 1e-4 * p.data)
            p.data -= rate * cosine * speed
    backbone.eval()
    answers = head(backbone(rows[query]).mean((2, 3))).argmax(1)
    hits = (answers == labels[query]).double().mean()
    assert 45 < 100 * hits < 99
    assert found['top1_99pct'] == pytest.approx(100 * float(hits), abs=0.3)


def test_one_image_of_a_class_and_layers_that_draw():
    images, labels = tinted(90)
    query = torch.arange(90) >= 3  # one reference of every class
    model = Small(dropout=0.5).eval()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    metric = FineTuneMetric(fractions=(0.01,), batch_size=1, least_steps=20)
    found = metric.fine_tune(model, images, labels, query)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert metric.fine_tune(model, images, labels, query) == found


def test_crops_and_flips_are_those_of_slow_loops():
    images = torch.arange(2 * 3 * 5 * 4).view(2, 3, 5, 4)
    found = augmented(images, 2, True, torch.Generator().manual_seed(3))
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
    assert torch.equal(augmented(images, 0, False, torch.Generator()), images)


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
    labels, query = run.evaluation_roles
    with pytest.raises(ValueError, match='ModelAccessHook'):
        FineTuneMetric().measure(raw_images(run), labels, query)
    with pytest.raises(ValueError, match=r'batch_size.*got 0'):
        FineTuneMetric(batch_size=0)
    with pytest.raises(ValueError, match='got 10'):
        FineTuneMetric(fractions=[10])
    with pytest.raises(ValueError, match='images with labels'):
        FineTuneMetric().check(torch.full_like(labels, -1), query)
