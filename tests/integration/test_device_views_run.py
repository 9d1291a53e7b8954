"""Runs whose views are made on the device."""

import sys
from pathlib import Path

import pytest
import torch

from ahpcl.datasets import collate_batches
from ahpcl.engine.two_views import two_view_features
from ahpcl.models import pool_features
from toy import toy_config, train, views_on_cpu

pytest.importorskip('kornia')


def config(work_dir, workers=0):
    found = toy_config(work_dir)
    found.train_dataloader.update(
        num_workers=workers, persistent_workers=workers > 0
    )
    return found


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp('views')
    return train(config(folder)), folder


def same(one, other):
    for name, value in other.model.state_dict().items():
        assert torch.equal(value, one.model.state_dict()[name]), name


def test_workers_do_not_change_the_run(straight, tmp_path):
    same(train(config(tmp_path, workers=2)), straight[0])


def test_a_resumed_run_makes_the_same_views(straight, tmp_path):
    again = config(tmp_path)
    again.resume = True
    again.load_from = str(straight[1] / 'epoch_3.pth')
    same(train(again), straight[0])


def test_it_is_another_run_than_with_views_on_the_cpu(straight, tmp_path):
    runner = train(views_on_cpu(toy_config(tmp_path)))
    one, other = (r.model.backbone.conv1.weight for r in (runner, straight[0]))
    assert not torch.equal(one, other)


def same_as_on_the_cpu(settings, other):
    """Train both, the second with its views made by the data set."""
    for config in (settings, other):
        config.train_cfg.update(max_epochs=2, val_interval=2)
    one, two = train(settings), train(views_on_cpu(other))
    same(one, two)
    log = next(Path(settings.work_dir).glob('*/*.log')).read_text()
    assert log.count('views are made on the CPU') == 1
    return log


def test_a_transform_that_the_device_lacks_is_named_and_done_on_the_cpu(
    tmp_path,
):
    both = [config(tmp_path / name) for name in 'ab']
    for settings in both:
        settings.model.data_preprocessor.views[0].append(
            dict(type='mmcls.Posterize', bits=4, prob=0.5)
        )
    assert 'got Posterize' in same_as_on_the_cpu(*both)


def test_without_kornia_the_views_are_those_of_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'kornia', None)
    log = same_as_on_the_cpu(config(tmp_path / 'a'), config(tmp_path / 'b'))
    assert 'pip install kornia' in log


def test_views_of_the_workers_are_not_taken_for_images(tmp_path):
    settings = config(tmp_path)
    other = views_on_cpu(toy_config(tmp_path))
    settings.train_dataloader.dataset.pipeline = (
        other.train_dataloader.dataset.pipeline
    )
    with pytest.raises(ValueError, match='got 2 views; take SeededMultiView'):
        train(settings)


def test_unfit_views_are_refused_before_the_first_step(tmp_path):
    """The model looks at the views of the preprocessor, not at the images."""
    settings = config(tmp_path)
    settings.model.data_preprocessor.num_views = [1]
    with pytest.raises(ValueError, match='two views of every image, got 1'):
        train(settings)


def test_the_health_of_features_is_that_of_views_from_the_device(tmp_path):
    settings = config(tmp_path)
    settings.train_cfg.max_epochs = 1
    settings.train_cfg.val_interval = 1
    model = train(settings)
    dataset = model.train_dataloader.dataset
    one, two = two_view_features(model.model, dataset, 20, seed=3)
    assert one.shape == two.shape and not torch.equal(one, two)
    batch = collate_batches([dataset[12 * i] for i in range(20)])
    views, _ = model.model.data_preprocessor.make_views(batch, -1, 3)
    model.model.eval()
    with torch.no_grad():
        expected = pool_features(model.model.extract_feat(views[0]))
    torch.testing.assert_close(one, expected, atol=1e-5, rtol=1e-4)
