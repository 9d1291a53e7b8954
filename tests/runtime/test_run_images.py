"""Every checkpoint lists the images that it is about."""

import torch

from ahpcl.datasets import Digits
from ahpcl.datasets.manifest import Manifest
from toy import toy_config, toy_method, train


def listed(path):
    state = torch.load(path, weights_only=True)['ahpcl']['images']
    return Manifest.from_state_dict(state)


def test_a_checkpoint_lists_its_images(tmp_path):
    for config in (
        toy_config(tmp_path / 'ahpcl'),
        toy_method('mocov2', tmp_path / 'mocov2', images=240),
    ):
        config.train_cfg.max_epochs = 1
        train(config)
        size = config.train_dataloader.dataset.img_size
        images = Digits(limit=240, img_size=size).manifest()
        path = f'{config.work_dir}/epoch_1.pth'
        assert listed(path).compare(images).none
