"""A run on the digits that takes seconds, for the tests of whole parts."""

from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs'


def toy_config(work_dir, **hook):
    """The digits demo with 240 images, a tiny encoder and 6 epochs."""
    config = Config.fromfile(CONFIGS / 'ahpcl_digits.py')
    config.work_dir = str(work_dir)
    config.launcher = 'none'
    config.model.queue_len = 50
    config.model.backbone.update(stem_channels=8, base_channels=8)
    config.model.neck.update(in_channels=32, hid_channels=32)
    config.train_cfg = dict(
        type='CheckedEpochTrainLoop', max_epochs=6, val_interval=6
    )
    config.default_hooks.checkpoint = dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=-1
    )
    config.default_hooks.logger.interval = 2
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    config.train_dataloader.dataset.limit = 240
    settings = dict(config.custom_hooks[0])
    settings['extract_dataloader'].dataset.limit = 240
    settings.update(
        ladder=dict(type='ClusterLadder', rungs=[40, 20, 10, 5, 2], window=2),
        policy=dict(type='FixedPolicy', epochs=2),
        warmup_epochs=1,
        **hook,
    )
    config.custom_hooks = [settings]
    return config


def train(config):
    """Run it; answers the runner."""
    # The host keeps one visualizer and one message hub per experiment name.
    config.experiment_name = f'toy_{len(_COUNT)}'
    _COUNT.append(None)
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


_COUNT: list[None] = []
