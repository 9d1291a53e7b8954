"""What ODC does around its steps: first clusters, intervals, weights."""

import itertools
import json

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ahpcl.baselines.kmeans_labels import KMeansLabels
from ahpcl.baselines.odc import OnlineDeepClustering
from ahpcl.baselines.odc_hook import OnlineClusteringHook
from ahpcl.baselines.pseudo_label import ClusterCrossEntropy
from toy import toy_method

assert ClusterCrossEntropy and KMeansLabels and OnlineDeepClustering


class Watch(Hook):
    """The memories around every step."""

    priority = 'LOW'

    def __init__(self):
        self.start = None
        self.steps = []

    def before_train_epoch(self, runner):
        if self.start is None:
            self.start = self._state(runner)

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        row = {k: float(v) for k, v in outputs.items()}
        self.steps.append((self._state(runner), row))

    def _state(self, runner):
        model = runner.model
        state = model.memory_bank.state_dict()
        state['weight'] = model.loss_weight
        return {k: v.clone() for k, v in state.items()}


def odc(work_dir, images=128, epochs=2, clusters=6, **hook):
    config = toy_method('odc', work_dir, images=images, epochs=epochs)
    config.model.head.num_classes = clusters
    config.model.memory_bank.num_classes = clusters
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


def test_the_first_clusters_are_those_of_the_necks_features(tmp_path):
    runner, watch = run(odc(tmp_path))
    labels, rows = watch.start['label_bank'], watch.start['feature_bank']
    assert torch.bincount(labels, minlength=6).min() > 0
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(128))
    for cluster in range(6):
        torch.testing.assert_close(
            watch.start['centroids'][cluster], rows[labels == cluster].mean(0)
        )
    # Every image has been seen twice, so every row has moved.
    last = watch.steps[-1][0]
    assert (last['feature_bank'] != rows).any(dim=1).all()
    assert isinstance(runner.hooks, list)


def test_centroids_move_at_their_interval(tmp_path):
    _, watch = run(
        odc(tmp_path, centroids_interval=3, small_clusters_interval=1000)
    )
    states = [watch.start, *(state for state, _ in watch.steps)]
    moved = [
        not torch.equal(one['centroids'], two['centroids'])
        for one, two in itertools.pairwise(states)
    ]
    assert moved == [False, False, True, False, False, True, False, False]
    assert all(0 <= row['change_ratio'] <= 1 for _, row in watch.steps)


@pytest.mark.parametrize('interval', [1, 4])
def test_small_clusters_are_dealt_with_at_their_interval(tmp_path, interval):
    class Shrink(Hook):
        """Empties a cluster before every step."""

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            bank = runner.model.memory_bank.label_bank
            bank[bank == 2] = 0

    config = odc(
        tmp_path, small_clusters_interval=interval, centroids_interval=1000
    )
    config.experiment_name = f'shrink_{interval}'
    config.visualizer.name = config.experiment_name
    runner, watch = Runner.from_cfg(config), Watch()
    runner.register_hook(Shrink())
    runner.register_hook(watch)
    runner.train()
    for step, (state, _) in enumerate(watch.steps, 1):
        count = int((state['label_bank'] == 2).sum())
        if step % interval == 0:
            assert count > 0


@pytest.mark.parametrize(
    'reweight, power', [(True, 0.5), (True, 1.0), (False, 0.5)]
)
def test_the_flags_of_reweighting_are_honoured(tmp_path, reweight, power):
    _, watch = run(
        odc(tmp_path, epochs=1, reweight=reweight, reweight_pow=power)
    )
    for state in (watch.start, *(state for state, _ in watch.steps)):
        sizes = torch.bincount(state['label_bank'], minlength=6).double()
        expected = sizes.pow(-power if reweight else 0)
        expected = (expected / expected.sum()).float()
        torch.testing.assert_close(state['weight'], expected)


def test_the_host_ignores_its_flags_of_reweighting():
    """What is patched here."""
    from types import SimpleNamespace

    from mmselfsup.engine.hooks.odc_hook import ODCHook

    hook = ODCHook(1000, 1000, 1000, reweight=False, reweight_pow=1.0)
    model = SimpleNamespace(
        memory_bank=SimpleNamespace(
            num_classes=2, label_bank=torch.tensor([0, 1, 1, 1, 1])
        ),
        loss_weight=torch.full((2,), 0.5),
        head=SimpleNamespace(loss=SimpleNamespace(class_weight=None)),
    )
    runner = SimpleNamespace(model=SimpleNamespace(module=model), iter=0)
    hook.after_train_iter(runner, 0)
    # Weighted all the same, and by the inverse square root: 1 to 1 / 2.
    torch.testing.assert_close(model.loss_weight, torch.tensor([2 / 3, 1 / 3]))


def test_what_is_logged(tmp_path):
    _, watch = run(odc(tmp_path))
    (file,) = tmp_path.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [row for row in rows if 'labels/clusters' in row]
    assert [row['step'] for row in rows] == [0, 4, 8]
    first = [row['change_ratio'] for _, row in watch.steps[:4]]
    assert rows[1]['labels/change_ratio'] == pytest.approx(sum(first) / 4)
    before = watch.start['label_bank']
    after = watch.steps[3][0]['label_bank']
    assert not torch.equal(before, after)
    assert 0 < rows[1]['labels/nmi'] < 1
    sizes = torch.bincount(after, minlength=6)
    assert rows[1]['labels/size_max'] == int(sizes.max())


def test_resumes_with_the_memories_of_the_checkpoint(tmp_path):
    straight, seen = run(odc(tmp_path / 'a', epochs=3))
    stopped = str(tmp_path / 'a' / 'epoch_2.pth')
    config = odc(tmp_path / 'b', epochs=3)
    config.resume, config.load_from = True, stopped
    config.train_dataloader.update(num_workers=1, persistent_workers=True)
    resumed, again = run(config)
    for name, value in seen.steps[7][0].items():
        assert torch.equal(again.start[name], value), name
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_starts_its_own_memories_from_other_weights(tmp_path):
    run(odc(tmp_path / 'a'))
    config = odc(tmp_path / 'b')
    config.load_from = str(tmp_path / 'a' / 'epoch_2.pth')
    saved = torch.load(config.load_from, weights_only=True)['state_dict']
    _, watch = run(config)
    rows = watch.start['feature_bank']
    assert not torch.allclose(rows, saved['memory_bank.feature_bank'])


def test_checkpoints_that_do_not_fit(tmp_path):
    run(odc(tmp_path / 'a', epochs=1))
    path = tmp_path / 'a' / 'epoch_1.pth'
    config = odc(tmp_path / 'b', images=160)
    config.resume, config.load_from = True, str(path)
    with pytest.raises(ValueError, match=r'feature_bank: \(160, 128\)'):
        run(config)
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint['state_dict']['memory_bank.feature_bank']
    torch.save(checkpoint, path)
    config = odc(tmp_path / 'c')
    config.resume, config.load_from = True, str(path)
    with pytest.raises(ValueError, match=r'missing \(memory_bank.*load_from'):
        run(config)


def test_settings_that_cannot_work(tmp_path):
    with pytest.raises(ValueError, match='at least 1'):
        OnlineClusteringHook(dict(), centroids_interval=0)
    with pytest.raises(ValueError, match='reweight_pow'):
        OnlineClusteringHook(dict(), reweight_pow=-1)
    config = odc(tmp_path / 'a')
    config.model.memory_bank.length = 200
    with pytest.raises(ValueError, match='128 rows'):
        run(config)
    config = odc(tmp_path / 'b', images=64, clusters=65)
    config.model.memory_bank.update(length=1000)
    with pytest.raises(ValueError, match='64 images for 65 clusters'):
        run(config)
