"""A run on the digits that takes seconds, for the tests of whole parts."""

import itertools
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
# The methods, one config each; their ablations share these code paths.
METHODS = (
    *('pcl', 'hcsc', 'mocov2', 'simclr', 'swav', 'deepcluster', 'odc'),
    *('sela', 'ahpcl'),
)


def toy_config(work_dir, **hook):
    """AHPCL with prototypes: 240 digits, a tiny encoder and 6 epochs."""
    config = Config.fromfile(CONFIGS / 'baselines' / 'ahpcl_prototypes.py')
    config.work_dir = str(work_dir)
    _name(config)
    config.launcher = 'none'
    config.model.queue_len = 50
    config.model.backbone.update(stem_channels=8, base_channels=8)
    config.model.neck.update(in_channels=32, hid_channels=32)
    config.train_cfg = dict(
        type='CheckedEpochTrainLoop', max_epochs=6, val_interval=6
    )
    config.default_hooks.checkpoint = dict(
        type='AtomicCheckpointHook', interval=1, max_keep_ckpts=-1
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
        **{'interval': 1, **hook},  # few epochs are to show all there is
    )
    config.custom_hooks = [settings]
    return config


def views_on_cpu(config):
    """Let the data set make the views of the preprocessor; changes it."""
    on_device = config.model.data_preprocessor
    views = {name: on_device.pop(name) for name in ('views', 'num_views')}
    on_device.type = 'ViewPreprocessor'
    dataset = config.train_dataloader.dataset
    load, pack = dataset.pipeline
    dataset.pipeline = [load, dict(type='SeededMultiView', **views), pack]
    return config


def toy_method(name, work_dir, *, images=320, epochs=3):
    """The digits config of a method, with fewer images and epochs."""
    config = Config.fromfile(CONFIGS / 'baselines' / f'{name}.py')
    config.work_dir = str(work_dir)
    _name(config)
    config.launcher = 'none'
    config.train_cfg = dict(
        type='CheckedEpochTrainLoop', max_epochs=epochs, val_interval=epochs
    )
    config.default_hooks.checkpoint = dict(
        type='AtomicCheckpointHook', interval=1, max_keep_ckpts=-1
    )
    config.default_hooks.logger.interval = 2
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    _limit(config._cfg_dict, images)
    return config


def _limit(node, images):
    """Shrink every training set, ladder and queue to so many images."""
    if isinstance(node, dict):
        if node.get('type') == 'Digits' and node.get('split') == 'train':
            node['limit'] = images
        for key in ('queue_len', 'queue_length', 'length'):
            if isinstance(node.get(key), int):
                node[key] = min(node[key], images)
        if node.get('rungs') is not None:
            node['rungs'] = [rung * images // 1442 for rung in node['rungs']]
    children = node.values() if isinstance(node, dict) else node
    if isinstance(node, dict | list | tuple):
        for child in children:
            _limit(child, images)


def train(config):
    """Run it; answers the runner."""
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def _name(config, _numbers=itertools.count()):  # noqa: B008
    """mmengine keeps one visualizer and one message hub of a name."""
    config.experiment_name = f'toy_{next(_numbers)}'
    config.visualizer.name = config.experiment_name
