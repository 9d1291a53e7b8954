"""SeLa's labels and equal clusters as E-step; SwAV's schedule."""

from dataclasses import replace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ahpcl.baselines import SinkhornLabels
from ahpcl.core import ClusterLadder
from ahpcl.engine import ClusterRequest, SinkhornClustering
from toy import toy_config, toy_method, train


def test_labels_of_all_images_are_equally_often():
    logits = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    maker = SinkhornLabels(tolerance=0.01, max_iter=5000)
    assert maker.reads == 'logits'
    labels = maker(logits, 6, seed=0)
    sizes = torch.bincount(labels, minlength=6)
    assert sizes.min() >= 47 and sizes.max() <= 53
    # Confident scores are kept where sizes allow.
    sure = torch.eye(6).repeat(50, 1) * 10
    assert torch.equal(maker(sure, 6, seed=0), sure.argmax(1))
    with pytest.raises(ValueError, match='got 5 for 6'):
        maker.check(5, 6)
    with pytest.raises(ValueError, match='power'):
        SinkhornLabels(power=0).check(10, 6)


def blobs():
    """Three directions of 60, 25 and 15 points."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(8)[:3].repeat_interleave(torch.tensor([60, 25, 15]), 0)
    points = centres + 0.2 * torch.randn(100, 8, generator=generator)
    return torch.nn.functional.normalize(points, dim=1)


def test_clusters_are_of_nearly_equal_size_at_every_level():
    features = blobs()
    request = ClusterRequest((2, 5), 'independent', temperature=0.2, seed=0)
    hierarchy = SinkhornClustering()(features, request)
    assert hierarchy.num_clusters == (5, 2)
    for level in hierarchy:
        sizes = level.sizes()
        mean = 100 / level.num_clusters
        assert (sizes - mean).abs().max() <= 0.15 * mean
        # Prototypes are the directions of the means of their images.
        for cluster, centroid in enumerate(level.centroids):
            own = features[level.assignments == cluster]
            direction = torch.nn.functional.normalize(own.sum(0), dim=0)
            torch.testing.assert_close(centroid, direction)
        assert level.concentration.mean() == pytest.approx(0.2, rel=1e-3)


def test_warm_start_keeps_the_identity_of_clusters():
    features = blobs()
    maker = SinkhornClustering(warm_start=True)
    request = ClusterRequest((4,), 'independent', temperature=0.2, seed=0)
    first = maker(features, request)
    again = maker(features, replace(request, seed=9, previous=first))
    same = (first[0].assignments == again[0].assignments).float().mean()
    assert same > 0.9


def test_settings_that_cannot_work():
    ladder = ClusterLadder([20, 10], window=2)
    cpu = torch.device('cpu')
    SinkhornClustering().check(ladder, 100, 'independent', cpu)
    with pytest.raises(ValueError, match="'divisive'"):
        SinkhornClustering().check(ladder, 100, 'divisive', cpu)
    with pytest.raises(ValueError, match='rounds'):
        SinkhornClustering(rounds=0)
    with pytest.raises(ValueError, match=r'rounds.*got alpha'):
        SinkhornClustering(alpha=10.0)
    with pytest.raises(ValueError, match='20'):
        SinkhornClustering().check(ladder, 15, 'independent', cpu)


def test_ahpcl_trains_with_equal_clusters(tmp_path):
    config = toy_config(tmp_path, clustering=dict(type='SinkhornClustering'))
    config.train_cfg.max_epochs = 3
    for level in train(config).model.head.hierarchy:
        assert level.sizes().max() <= 1.6 * 240 / level.num_clusters


class Prototypes(Hook):
    """Keeps the prototypes of every iteration, as they stand after it."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.seen = []

    def before_train(self, runner):
        self.after_train_iter(runner)

    def after_train_iter(self, runner, *args, **kwargs):
        weight = runner.model.head.loss.prototypes.weight
        self.seen.append(
            torch.nn.functional.normalize(weight.detach().clone(), dim=1)
        )


def test_frozen_prototypes_stay_and_then_move(tmp_path):
    config = toy_method('swav', tmp_path, epochs=2)
    hook = next(h for h in config.custom_hooks if h.type == 'SwAVScheduleHook')
    hook.update(freeze_iters=7, queue_start_epoch=1)
    config.experiment_name = 'frozen_swav'
    runner = Runner.from_cfg(config)
    keeper = Prototypes()
    runner.register_hook(keeper)
    runner.train()
    # Seven steps without a move (with weight decay and momentum on).
    for weight in keeper.seen[1:8]:
        torch.testing.assert_close(weight, keeper.seen[0])
    assert (keeper.seen[8] - keeper.seen[0]).abs().max() > 1e-4
    state = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    queue = runner.model.head.loss.queue
    (kept,) = state['ahpcl']['ranks']
    assert torch.equal(kept['queue']['features'], queue)
    assert queue.abs().sum() > 0
    assert kept['queue']['filled'] == 5 * 64  # one epoch of 5 batches


def test_more_prototypes_than_features_stop_the_run(tmp_path):
    config = toy_method('swav', tmp_path)
    config.model.head.loss.update(num_prototypes=321, queue_len=256)
    with pytest.raises(ValueError, match=r'at most 320 prototypes.*got 321'):
        train(config)
    assert not list(tmp_path.glob('*.pth'))
