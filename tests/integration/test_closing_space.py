"""A run that whitens ends with clusters of the features as they are."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ahpcl.engine.extraction import extract_shard
from ahpcl.evaluation.run_data import RunData
from toy import toy_method, train


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whitened')
    train(toy_method('ahpcl', folder))
    return folder


def run_of(folder, epoch):
    (file,) = folder.glob('*.py')
    return RunData(Config.fromfile(file), folder / f'epoch_{epoch}.pth')


def is_left(model):
    matrix = model.cluster_space.matrix
    return torch.equal(matrix, torch.eye(len(matrix)))


def test_the_last_clusters_are_of_plain_features(folder):
    run = run_of(folder, 3)
    assert is_left(run.model)
    shard = extract_shard(
        run.model, run.training_loader, run.model.extract_pooled_keys
    )
    features = F.normalize(shard.features, dim=1)
    assert len(features) == 320
    torch.testing.assert_close(run.points, features, atol=1e-5, rtol=1e-4)
    for level in run.hierarchy.levels:
        nearest = (features @ F.normalize(level.centroids, dim=1).T).argmax(1)
        assert torch.equal(nearest, level.assignments)


def test_within_the_run_they_are_of_whitened_ones(folder):
    run = run_of(folder, 2)
    assert not is_left(run.model)


def test_more_epochs_begin_with_whitened_clusters(folder, tmp_path):
    config = toy_method('ahpcl', tmp_path / 'more', epochs=4)
    config.custom_hooks[0].interval = 3  # none would be due
    config.resume, config.load_from = True, str(folder / 'epoch_3.pth')
    config.train_cfg.extend = 'keep'
    runner = Runner.from_cfg(config)
    seen = []

    class Seen(Hook):
        def after_train_iter(self, runner, *args, **kwargs):
            seen.append(is_left(runner.model))

    runner.register_hook(Seen())
    runner.train()
    assert seen and not any(seen)
    assert is_left(runner.model)
