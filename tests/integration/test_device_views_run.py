"""Runs whose views are made on the device."""

import pytest
import torch

from toy import toy_config, train

pytest.importorskip('kornia')


def config(work_dir, workers=0, **preprocessor):
    found = toy_config(work_dir)
    found.model.data_preprocessor.update(type='DeviceViews', **preprocessor)
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


@pytest.mark.parametrize(
    'settings', [dict(workers=2), dict(resident=True)], ids=str
)
def test_neither_workers_nor_residence_change_the_run(
    straight, tmp_path, settings
):
    same(train(config(tmp_path, **settings)), straight[0])


def test_a_resumed_run_makes_the_same_views(straight, tmp_path):
    again = config(tmp_path)
    again.resume = True
    again.load_from = str(straight[1] / 'epoch_3.pth')
    same(train(again), straight[0])


def test_it_is_another_run_than_with_views_on_the_cpu(straight, tmp_path):
    runner = train(toy_config(tmp_path))
    name, value = next(iter(straight[0].model.state_dict().items()))
    assert not torch.equal(runner.model.state_dict()[name], value)


def test_a_transform_that_the_device_lacks_stops_the_run(tmp_path):
    settings = config(tmp_path)
    views = settings.train_dataloader.dataset.pipeline[1]['views'][0]
    views.append(dict(type='mmcls.Posterize', bits=4, prob=0.5))
    with pytest.raises(ValueError, match='got Posterize'):
        train(settings)
