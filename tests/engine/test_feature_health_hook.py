"""Watching a representation without touching its training."""

import json
import math
import random

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from ahpcl.core.metrics.feature_health import alignment, rankme
from ahpcl.datasets import set_epoch
from ahpcl.engine.feature_health_hook import FeatureHealthHook
from ahpcl.engine.two_views import two_view_features
from ahpcl.utils.ranks import unwrap
from toy import toy_config, toy_method, views_on_cpu


def logged(work_dir):
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [row for row in rows if 'health/rankme' in row]


def trained(config, epochs=2):
    config.train_cfg.max_epochs = epochs
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def test_a_run_with_it_has_the_same_weights(tmp_path):
    plain = trained(toy_config(tmp_path / 'plain'))
    config = toy_config(tmp_path / 'watched')
    config.custom_hooks.append(dict(type='FeatureHealthHook', num_images=50))
    watched = trained(config)
    weights = unwrap(plain.model).state_dict()
    for name, value in unwrap(watched.model).state_dict().items():
        assert torch.equal(value, weights[name]), name
    rows = logged(tmp_path / 'watched')
    assert [row['step'] for row in rows] == [3, 6]
    model = unwrap(watched.model)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    views = two_view_features(model, dataset, 50, seed=watched.seed)
    assert rows[-1]['health/rankme'] == pytest.approx(rankme(views[0]))
    assert rows[-1]['health/alignment'] == pytest.approx(alignment(*views))


def test_an_alarm_is_a_warning(tmp_path):
    config = toy_config(tmp_path)
    config.custom_hooks.append(
        dict(type='FeatureHealthHook', interval=2, least_rankme=1e6)
    )
    trained(config)
    (text,) = tmp_path.glob('*/*.log')
    lines = text.read_text().splitlines()
    (alarm,) = [line for line in lines if 'RankMe' in line]
    assert 'WARNING' in alarm
    assert len(logged(tmp_path)) == 1


@pytest.mark.parametrize('name', ['deepcluster', 'swav'])
def test_methods_with_one_view_or_many_have_two(tmp_path, name):
    config = toy_method(name, tmp_path, images=60)
    runner = Runner.from_cfg(config)
    model = unwrap(runner.model)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    first, second = two_view_features(model, dataset, 20)
    assert first.shape == second.shape
    assert len(first) == 20
    assert bool((first != second).any(dim=1).all())


def test_views_and_their_epoch_are_the_callers_own(tmp_path):
    config = views_on_cpu(toy_config(tmp_path))
    model = unwrap(Runner.from_cfg(config).model)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    set_epoch(dataset, 5, 1)
    before = dataset[7]['inputs'][0]
    state = torch.get_rng_state()
    model.train()
    first, _ = two_view_features(model, dataset, 240, batch_size=100)
    assert model.training
    assert model.backbone.training
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(dataset[7]['inputs'][0], before)
    # The first views, as the augmentation gives them in that epoch.
    set_epoch(dataset, -1, 0)
    batch = dict(inputs=[dataset[7]['inputs'][0][None]], data_samples=[])
    mean = model.data_preprocessor.mean.view(3, 1, 1)
    std = model.data_preprocessor.std.view(3, 1, 1)
    image = batch['inputs'][0].float()[:, [2, 1, 0]]
    model.eval()
    with torch.no_grad():
        expected = model.backbone((image - mean) / std)[-1].mean((2, 3))[0]
    torch.testing.assert_close(first[7], expected)


class Draws:
    """An augmentation that draws from every global generator."""

    def __call__(self, results):
        noise = random.random() + np.random.rand() + float(torch.rand(()))
        images = [image.float() + 20 * noise for image in results['inputs']]
        return {**results, 'inputs': images}


class Wrapped(torch.utils.data.Dataset):
    """Another's data set behind a transform of its own."""

    def __init__(self, dataset, transform):
        self.dataset, self.transform = dataset, transform

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.transform(self.dataset[index])


def test_transforms_without_a_seed_draw_nothing_of_the_run(tmp_path):
    config = toy_config(tmp_path)
    model = unwrap(Runner.from_cfg(config).model)
    inner = DATASETS.build(config.train_dataloader.dataset)
    dataset = Wrapped(inner, Draws())
    seen = []
    for _ in range(2):
        before = random.getstate(), np.random.get_state()[1].copy()
        state = torch.get_rng_state()
        seen.append(two_view_features(model, dataset, 12, seed=4))
        assert random.getstate() == before[0]
        assert (np.random.get_state()[1] == before[1]).all()
        assert torch.equal(torch.get_rng_state(), state)
        random.random(), np.random.rand(), torch.rand(())
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])
    other = two_view_features(model, dataset, 12, seed=5)
    assert not torch.equal(seen[0][0], other[0])
    assert dataset.dataset is inner


@pytest.mark.parametrize(
    ('value', 'said'),
    [(0.0, 'RankMe 0.00 is below 2'), (math.nan, 'with NaN or infinity')],
)
def test_a_dead_or_diverged_encoder_is_told_and_not_an_error(
    tmp_path, value, said
):
    config = toy_config(tmp_path)
    runner = Runner.from_cfg(config)
    runner.train_loop  # noqa: B018  (builds it)
    for parameter in unwrap(runner.model).backbone.parameters():
        torch.nn.init.constant_(parameter, value)
    FeatureHealthHook(num_images=20).after_train_epoch(runner)
    (text,) = tmp_path.glob('*/*.log')
    warnings = [
        line for line in text.read_text().splitlines() if 'WARNING' in line
    ]
    assert any(said in line for line in warnings)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match='got 0 and 1024'):
        FeatureHealthHook(interval=0)
    with pytest.raises(TypeError, match='least_rank'):
        FeatureHealthHook(least_rank=3)
