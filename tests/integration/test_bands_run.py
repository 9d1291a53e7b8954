"""A run on images of several bands, from the config to features of them."""

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from ahpcl.datasets import UnlabelledFolder, fit_to_images, pixels_of
from ahpcl.evaluation.run_data import RunData
from odd_folders import ODD_FOLDERS
from toy import toy_config, train, views_on_cpu


def bands_config(work_dir, root):
    config = toy_config(work_dir)
    config.train_cfg.update(max_epochs=2, val_interval=2)
    config.train_dataloader.batch_size = 16
    config.model.queue_len = 16
    config.model.backbone.norm_cfg.num_splits = 2
    config.model.neck.norm_cfg.num_splits = 2
    hook = config.custom_hooks[0]
    hook.ladder.rungs = [8, 4, 2]
    for loader in (config.train_dataloader, hook.extract_dataloader):
        loader.dataset = dict(
            type='UnlabelledFolder',
            data_root=str(root),
            pipeline=loader.dataset.pipeline,
        )
    for part in ('val', 'test'):
        for name in ('dataloader', 'cfg', 'evaluator'):
            config[f'{part}_{name}'] = None
    return config


@pytest.mark.parametrize('on_device', [False, True])
def test_bands_are_trained_on_and_read_alike_afterwards(tmp_path, on_device):
    root = tmp_path / 'tiles'
    ODD_FOLDERS['seven_bands'](root, count=32)
    init_default_scope('mmselfsup')
    config = bands_config(tmp_path / 'run', root)
    if not on_device:
        views_on_cpu(config)
    untouched = copy.deepcopy(config)
    fit_to_images(config)
    runner = train(config)
    assert runner.model.backbone.conv1.in_channels == 7
    checkpoint = tmp_path / 'run' / 'epoch_2.pth'
    numbers = pixels_of(checkpoint)
    dataset = runner.train_dataloader.dataset
    assert dataset.pixels.as_dict().items() <= numbers.items()
    mean = config.model.data_preprocessor.mean
    np.testing.assert_allclose(numbers['mean'], mean, rtol=1e-6)
    run = RunData(copy.deepcopy(untouched), checkpoint)
    assert torch.isfinite(run.training.features).all()
    assert run.model.backbone.conv1.in_channels == 7
    # Images come and go: what was trained on counts, not what is there now.
    for path in sorted(root.iterdir())[:8]:
        path.unlink()
    now = UnlabelledFolder(str(root))
    assert now.pixels != dataset.pixels
    run = RunData(untouched, checkpoint)
    assert run.training_loader.dataset.pixels == dataset.pixels


def test_a_resumed_run_refuses_other_pixels(tmp_path):
    root = tmp_path / 'cells'
    ODD_FOLDERS['twelve_bits'](root, count=32)
    init_default_scope('mmselfsup')
    config = bands_config(tmp_path / 'run', root)
    fit_to_images(config)
    train(config)
    again = bands_config(tmp_path / 'run', root)
    again.train_cfg.max_epochs = 3
    again.resume, again.load_from = True, str(tmp_path / 'run' / 'epoch_2.pth')
    for loader in (
        again.train_dataloader,
        again.custom_hooks[0].extract_dataloader,
    ):
        loader.dataset.range = dict(uint16=(0, 4095))
    with pytest.raises(ValueError, match=r'expected range=.*uint16'):
        train(again)
