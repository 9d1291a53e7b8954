"""A method starts from another's checkpoint and refines it."""

import pytest
import torch
from mmengine.runner import Runner

from ahpcl.baselines.kmeans_labels import KMeansLabels
from ahpcl.baselines.odc import OnlineDeepClustering
from ahpcl.baselines.odc_hook import OnlineClusteringHook
from ahpcl.baselines.pseudo_label import (
    ClusterCrossEntropy,
    PseudoLabelClassifier,
)
from ahpcl.baselines.pseudo_label_hook import PseudoLabelHook
from ahpcl.baselines.uniform_cluster_sampler import UniformClusterSampler
from toy import toy_config, toy_method

assert ClusterCrossEntropy and OnlineDeepClustering and PseudoLabelClassifier
assert KMeansLabels and OnlineClusteringHook and PseudoLabelHook
assert UniformClusterSampler
NECKS = dict(ahpcl=48, deepcluster=64, odc=96)


def config_of(method, work_dir):
    if method == 'ahpcl':
        # The encoder of all methods.
        config = toy_config(work_dir)
        other = toy_method('odc', work_dir)
        config.model.backbone = other.model.backbone
        config.model.neck.in_channels = 64
    else:
        config = toy_method(method, work_dir)
    # Every neck has a shape of its own.
    config.model.neck.hid_channels = NECKS[method]
    config.train_cfg.max_epochs = 2
    for name in ('dataloader', 'evaluator', 'cfg'):
        config[f'val_{name}'] = None
    return config


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp('first'), {}
    for method in ('ahpcl', 'deepcluster', 'odc'):
        config = config_of(method, folder / method)
        Runner.from_cfg(config).train()
        found[method] = folder / method / 'epoch_2.pth'
    return found


@pytest.mark.parametrize(
    'first, second',
    [('deepcluster', 'odc'), ('ahpcl', 'deepcluster'), ('odc', 'ahpcl')],
)
def test_refines(checkpoints, first, second, tmp_path):
    saved = torch.load(checkpoints[first], weights_only=True)['state_dict']
    config = config_of(second, tmp_path)
    config.load_from = str(checkpoints[first])
    runner = Runner.from_cfg(config)
    loaded = {}
    begin = runner.call_hook

    def call_hook(name, **kwargs):
        if name == 'before_train_epoch' and not loaded:
            state = runner.model.state_dict()
            loaded.update({k: v.clone() for k, v in state.items()})
        return begin(name, **kwargs)

    runner.call_hook = call_hook
    runner.train()
    names = [name for name in loaded if name.startswith('backbone.')]
    assert len(names) > 50
    for name in names:
        assert torch.equal(loaded[name], saved[name]), name
    if second == 'ahpcl':  # keys start equal to queries
        for name in names:
            key = name.replace('backbone.', 'encoder_k.0.', 1)
            assert torch.equal(loaded[key], saved[name]), key
    # The neck of another shape is its own and named in the log.
    assert loaded['neck.fc0.weight'].shape != saved['neck.fc0.weight'].shape
    (log,) = tmp_path.glob('*/*.log')
    (line,) = (
        line for line in log.read_text().splitlines() if 'left out' in line
    )
    assert 'neck.*' in line.partition('shapes differ')[2].partition(';')[0]
    # It has trained on from there.
    last = runner.model.state_dict()
    moved = [n for n in names if not torch.equal(last[n], loaded[n])]
    assert len(moved) > 50
    assert all(torch.isfinite(v.float()).all() for v in last.values())
    assert runner.epoch == 2
