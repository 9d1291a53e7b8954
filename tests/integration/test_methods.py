"""Every method trains, logs, evaluates and resumes, on one process."""

import json

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from toy import CONFIGS, METHODS, toy_method

# Tried at every change; the others in campaigns.
FIRST = ('mocov2', 'pcl', 'deepcluster', 'ahpcl')


class Recorder(Hook):
    """Keeps what every iteration answered."""

    def __init__(self):
        self.seen = []

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        self.seen.append({k: float(v) for k, v in outputs.items()})


def recorded(config):
    recorder = Recorder()
    runner = Runner.from_cfg(config)
    runner.register_hook(recorder)
    runner.train()
    return runner, recorder.seen


@pytest.mark.parametrize(
    'method',
    [
        pytest.param(name, marks=() if name in FIRST else pytest.mark.campaign)
        for name in METHODS
    ],
)
def test_trains_evaluates_and_resumes_bit_for_bit(method, tmp_path):
    straight, seen = recorded(toy_method(method, tmp_path / 'straight'))
    assert all(torch.isfinite(torch.tensor(row['loss'])) for row in seen)
    (file,) = (tmp_path / 'straight').glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert 0 < next(r['knn/top1'] for r in rows if 'knn/top1' in r) <= 100
    assert any('loss' in row for row in rows)

    stopped = tmp_path / 'straight' / 'epoch_2.pth'
    assert torch.load(stopped, weights_only=True)
    config = toy_method(method, tmp_path / 'resumed')
    config.resume, config.load_from = True, str(stopped)
    config.train_dataloader.update(num_workers=1, persistent_workers=True)
    resumed, again = recorded(config)
    assert len(again) == len(seen) // 3
    assert again == seen[-len(again) :]
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, straight.model.state_dict()[name]), name


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('data', ['digits', 'tin100_cpu', 'tin100', 'minin'])
def test_methods_share_backbone_data_and_budget(method, data, monkeypatch):
    from mmengine.config import Config

    ours = Config.fromfile(CONFIGS / f'ahpcl_{data}.py')
    monkeypatch.setenv('AHPCL_SCALE', data)
    theirs = Config.fromfile(CONFIGS / 'baselines' / f'{method}.py')
    backbone = dict(ours.model.backbone)
    if method == 'simclr' and backbone['norm_cfg'].type == 'SplitBN':
        # Its two views of an image must not be in one part of the batch.
        backbone['norm_cfg'] = dict(type='BN')
    assert theirs.model.backbone == backbone
    # The first view is made alike; SwAV adds small crops of its own, and
    # methods of one view take one.
    assert (
        theirs.model.data_preprocessor.views[0]
        == (ours.model.data_preprocessor.views[0])
    )
    own = dict(views=None, num_views=None)
    mine, other = (
        {**c.model.data_preprocessor, **own} for c in (ours, theirs)
    )
    assert mine == other
    assert theirs.train_cfg == ours.train_cfg
    assert theirs.param_scheduler == ours.param_scheduler
    assert theirs.val_dataloader == ours.val_dataloader
    assert theirs.test_evaluator == ours.test_evaluator
    assert theirs.randomness == ours.randomness
    for name in ('batch_size', 'num_workers', 'sampler', 'drop_last'):
        if name == 'sampler' and method == 'deepcluster':
            continue  # uniform over the clusters
        assert theirs.train_dataloader[name] == ours.train_dataloader[name]
    assert theirs.train_dataloader.dataset == ours.train_dataloader.dataset
