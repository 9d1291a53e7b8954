"""Labels before every epoch: current, logged, kept, restored."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.hooks import Hook
from mmengine.registry import TASK_UTILS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ahpcl.baselines.kmeans_labels import KMeansLabels
from ahpcl.baselines.label_images import label_images
from ahpcl.baselines.pseudo_label import (
    ClusterCrossEntropy,
    PseudoLabelClassifier,
)
from ahpcl.baselines.pseudo_label_hook import PseudoLabelHook
from ahpcl.baselines.uniform_cluster_sampler import UniformClusterSampler
from ahpcl.core.seeding import seed_from
from toy import toy_method

assert ClusterCrossEntropy and PseudoLabelClassifier
assert UniformClusterSampler


@TASK_UTILS.register_module(force=True)
class TurningLabels:
    """Image i has label i + calls: old labels are wrong for every image."""

    reads = 'features'

    def __init__(self):
        self.calls = 0

    def check(self, num_images, num_classes):
        if num_images < num_classes:
            raise ValueError('too few')

    def __call__(self, rows, num_classes, *, seed):
        labels = (torch.arange(len(rows)) + self.calls) % num_classes
        self.calls += 1
        return labels


class Watch(Hook):
    """Which labels the loss saw for which images, and the head's state."""

    priority = 'LOW'  # after the hook that makes the labels

    def __init__(self):
        self.labels, self.images, self.heads = [], [], []
        self.momentum = []

    def before_train_epoch(self, runner):
        model = runner.model
        if not self.heads:
            model.head.loss.register_forward_pre_hook(
                lambda module, inputs: self.labels.append(inputs[1])
            )
        state = runner.optim_wrapper.optimizer.state
        self.momentum.append(
            (
                moving(state, model.head),
                moving(state, model.backbone),
            )
        )
        self.heads.append(model.head.fc_cls.weight.detach().clone())

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        indices = [int(s.sample_idx.value) for s in data_batch['data_samples']]
        self.images.append((runner.epoch, indices))


def moving(state, module):
    """Whether any momentum is left."""
    return any(
        bool(value.any())
        for parameter in module.parameters()
        for value in state.get(parameter, {}).values()
    )


def deepcluster(work_dir, images=128, epochs=2, **hook):
    config = toy_method('deepcluster', work_dir, images=images, epochs=epochs)
    config.model.head.num_classes = 8
    config.train_dataloader.batch_size = 32
    for name in ('dataloader', 'evaluator', 'cfg'):
        config[f'val_{name}'] = None
    for key, value in hook.items():
        config.custom_hooks[0][key] = value  # update() would merge
    return config


def run(config):
    runner, watch = Runner.from_cfg(config), Watch()
    runner.register_hook(watch)
    runner.train()
    return runner, watch


def hook_of(runner):
    return next(h for h in runner.hooks if isinstance(h, PseudoLabelHook))


@pytest.mark.parametrize('workers', [0, 1])
def test_every_label_used_is_of_the_current_clustering(tmp_path, workers):
    config = deepcluster(tmp_path, epochs=3, labels=dict(type='TurningLabels'))
    config.train_dataloader.update(
        num_workers=workers, persistent_workers=workers > 0
    )
    _, watch = run(config)
    assert len(watch.labels) == len(watch.images) == 12
    for used, (epoch, indices) in zip(watch.labels, watch.images, strict=True):
        expected = (torch.tensor(indices) + epoch) % 8
        assert torch.equal(used, expected)


def test_the_host_trains_on_old_labels(tmp_path):
    """What is patched here: its labels live in the data set."""
    from mmselfsup.datasets import DeepClusterImageNet
    from PIL import Image

    for name in range(8):
        Image.new('RGB', (4, 4)).save(tmp_path / f'{name}.png')
    lines = [f'{name}.png 0' for name in range(8)]
    (tmp_path / 'all.txt').write_text('\n'.join(lines))
    dataset = DeepClusterImageNet(
        ann_file='all.txt',
        data_root=str(tmp_path),
        pipeline=[lambda results: results['clustering_label']],
    )
    loader = DataLoader(
        dataset,
        batch_size=4,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context='fork',
        collate_fn=default_collate,
    )
    seen = []
    for epoch in range(3):
        dataset.assign_labels([epoch] * 8)
        seen.append(torch.cat(list(loader)).tolist())
    assert seen == [[0] * 8] * 3  # the labels of the first epoch for ever


def test_the_head_starts_again_and_its_momentum_is_dropped(tmp_path):
    config = deepcluster(tmp_path / 'reset')
    del config.optim_wrapper['paramwise_cfg']  # momentum for the head, too
    runner, watch = run(config)
    assert watch.momentum == [(False, False), (False, True)]
    model = runner.model
    for epoch in range(2):
        model.reset_head(seed_from(runner.seed, 'head', epoch))
        assert torch.equal(watch.heads[epoch], model.head.fc_cls.weight)

    config = deepcluster(tmp_path / 'kept', reset_head=False)
    del config.optim_wrapper['paramwise_cfg']
    _, watch = run(config)
    assert watch.momentum == [(False, False), (True, True)]


def test_interval_log_and_weights(tmp_path):
    config = deepcluster(
        tmp_path, epochs=3, interval=2, reweight=True, reweight_pow=1.0
    )
    runner, watch = run(config)
    model = runner.model
    sizes = torch.bincount(model.pseudo_labels, minlength=8).double()
    expected = (1 / sizes) / (1 / sizes).sum()
    torch.testing.assert_close(model.loss_weight, expected.float())
    (file,) = tmp_path.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [row for row in rows if 'labels/clusters' in row]
    assert [row['step'] for row in rows] == [0, 8]  # before epochs 1 and 3
    assert all(row['labels/clusters'] == 8 for row in rows)
    assert rows[1]['labels/size_max'] == sizes.max()
    assert 'labels/nmi' not in rows[0]
    assert 0 < rows[1]['labels/nmi'] <= 1
    assert 'labels/seconds_extract' in rows[0]
    (log,) = tmp_path.glob('*/*.log')
    assert 'AMI' in log.read_text()
    # Every cluster is seen equally often: 128 images, 8 clusters.
    drawn = torch.cat(watch.labels[-4:])
    assert torch.bincount(drawn).max() <= 17


def test_labels_come_back_on_resume_only(tmp_path):
    straight, seen = run(deepcluster(tmp_path / 'a', epochs=3, interval=2))
    stopped = str(tmp_path / 'a' / 'epoch_1.pth')
    saved = torch.load(stopped, weights_only=True)['ahpcl']
    assert saved['pseudo_labels'].shape == (128,)

    config = deepcluster(tmp_path / 'b', epochs=3, interval=2)
    config.resume, config.load_from = True, stopped
    config.train_dataloader.update(num_workers=1, persistent_workers=True)
    resumed, again = run(config)
    # Epoch 2 has the labels of epoch 1, which are not made again.
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.labels, seen.labels[4:], strict=True)
    )
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name

    config = deepcluster(tmp_path / 'c', epochs=1)
    config.load_from = stopped
    run(config)
    (log,) = (tmp_path / 'c').glob('*/*.log')
    assert 'labels before epoch 1' in log.read_text()
    assert 'agreement with the labels before' not in log.read_text()


def test_a_checkpoint_of_other_data_or_methods(tmp_path):
    run(deepcluster(tmp_path / 'a', epochs=1))
    path = tmp_path / 'a' / 'epoch_1.pth'
    config = deepcluster(tmp_path / 'b', images=160, epochs=2)
    config.resume, config.load_from = True, str(path)
    run(config)  # new images beside the old ones get labels at once
    more = torch.load(tmp_path / 'b' / 'epoch_2.pth', weights_only=True)
    assert more['ahpcl']['pseudo_labels'].shape == (160,)
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint['ahpcl']['pseudo_labels']
    torch.save(checkpoint, path)
    config = deepcluster(tmp_path / 'c', epochs=2)
    config.resume, config.load_from = True, str(path)
    with pytest.raises(ValueError, match='load_from'):
        run(config)


def test_settings_that_cannot_work(tmp_path):
    with pytest.raises(ValueError, match='interval'):
        PseudoLabelHook(dict(), interval=0)
    with pytest.raises(ValueError, match='reweight_pow'):
        PseudoLabelHook(dict(), reweight_pow=-1)
    config = deepcluster(tmp_path / 'a', images=64)
    config.model.head.num_classes = 65
    with pytest.raises(ValueError, match='64 images for 65 clusters'):
        run(config)
    config = deepcluster(tmp_path / 'b')
    config.train_dataloader.sampler.type = 'DefaultSampler'
    with pytest.raises(ValueError, match='UniformClusterSampler'):
        run(config)
    config = deepcluster(tmp_path / 'c')
    config.custom_hooks[0].extract_dataloader.dataset.limit = 100
    with pytest.raises(ValueError, match='128 training'):
        run(config)
    with pytest.raises(ValueError, match='got 100'):
        KMeansLabels().check(99, 100)
    with pytest.raises(ValueError, match='backend'):
        KMeansLabels(backend='gpu').check(9, 3)
    with pytest.raises(ValueError, match='pca_dim'):
        KMeansLabels(pca_dim=0).check(9, 3)


def test_k_means_finds_groups_that_whitening_shows():
    # Two groups told apart by a direction of little variance.
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(60) % 2
    rows = torch.randn(60, 3, generator=generator) * torch.tensor(
        [100.0, 100.0, 0.01]
    )
    rows[:, 2] += truth.float()
    plain = KMeansLabels(pca_dim=None)(rows, 2, seed=0)
    white = KMeansLabels(pca_dim=3, n_init=5)(rows, 2, seed=0)

    def agreement(found):
        share = float((found == truth).float().mean())
        return max(share, 1 - share)

    assert agreement(white) > agreement(plain) + 0.15
    assert torch.equal(
        white, KMeansLabels(pca_dim=3, n_init=5)(rows, 2, seed=0)
    )


def test_collapsed_features_still_get_labels():
    rows = torch.full((20, 6), 0.7)
    with pytest.warns(UserWarning, match='collapsed'):
        labels = KMeansLabels()(rows, 4, seed=0)
    assert labels.unique().tolist() == [0]


def test_features_that_are_not_finite():
    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def data_preprocessor(self, batch, training):
            return batch

    batch = dict(
        inputs=torch.zeros(2, 1),
        data_samples=[SimpleNamespace(sample_idx=i) for i in range(2)],
    )

    class Loader:
        dataset = range(2)

        def __iter__(self):
            return iter([batch])

        def __len__(self):
            return 1

    with pytest.raises(FloatingPointError, match='1 of 2 images'):
        label_images(
            Broken(),
            Loader(),
            KMeansLabels(),
            lambda inputs: torch.tensor([[1.0], [float('inf')]]),
            2,
            seed=0,
        )
