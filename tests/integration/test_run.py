"""Whole runs on a few digits: signals, ladder, checkpoints, resume."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from toy import toy_config, train


class Recorder(Hook):
    """Keeps the losses of every iteration."""

    def __init__(self):
        self.losses = []

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        self.losses.append(
            (runner.iter, *(float(outputs[k]) for k in sorted(outputs)))
        )


def recorded(config):
    from mmengine.runner import Runner

    recorder = Recorder()
    runner = Runner.from_cfg(config)
    runner.register_hook(recorder)
    runner.train()
    return runner, recorder.losses


def scalars(work_dir):
    (file,) = Path(work_dir).glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('straight')
    runner, losses = recorded(toy_config(work_dir))
    return runner, losses, work_dir


def test_ladder_advances_and_everything_is_logged(straight):
    runner, _, work_dir = straight
    hook = next(
        h for h in runner.hooks if type(h).__name__ == 'AdaptiveClusterHook'
    )
    # Six epochs: one of warm-up, then two per rung.
    assert hook.ladder.current == (10, 5)
    rows = scalars(work_dir)
    keys = set().union(*rows)
    assert {
        'loss',
        'loss_inst',
        'loss_proto',
        'acc_inst',
        'acc_proto',
        'acc_proto_k40',
        'acc_proto_k10',
        'estep/k40/objective',
        'estep/k40/clusters',
        'estep/k40/size_min',
        'estep/k40/size_median',
        'estep/k40/size_max',
        'estep/k40/repaired',
        'estep/k40/agreement',
        'estep/seconds_extract',
        'estep/seconds_cluster',
        'estep/share',
        'epoch/acc_inst',
        'epoch/acc_proto',
        'policy/action',
        'knn/top1',
    } <= keys
    for row in rows:
        if 'acc_proto' in row:
            levels = [v for k, v in row.items() if k.startswith('acc_proto_k')]
            assert len(levels) == 2  # a rung that left is not repeated
    log = next(Path(work_dir).glob('*/*.log')).read_text()
    assert 'knn/top1:' in log
    assert 'ladder: 40, 20, 10, 5, 2' in log
    assert 'advance: ' in log


def test_checkpoint_is_plain_and_complete(straight):
    _, _, work_dir = straight
    state = torch.load(work_dir / 'epoch_4.pth', weights_only=True)
    ours = state['ahpcl']
    assert ours['ladder']
    assert ours['policy']
    assert len(ours['hierarchy']['levels']) == 2


@pytest.mark.parametrize('stop', [1, 3, 5])
@pytest.mark.parametrize('workers', [0, 2])
def test_resume_gives_the_same_run_bit_for_bit(
    straight, tmp_path, stop, workers
):
    if workers and stop != 3:
        pytest.skip('workers are looked at once, after epoch 3')
    runner, losses, work_dir = straight
    config = toy_config(tmp_path)
    config.resume = True
    config.load_from = str(work_dir / f'epoch_{stop}.pth')
    config.train_dataloader.update(
        num_workers=workers, persistent_workers=workers > 0
    )
    resumed, again = recorded(config)
    assert again == losses[-len(again) :]
    assert len(again) == len(losses) * (6 - stop) // 6
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, runner.model.state_dict()[name]), name


def test_load_from_restores_weights_but_no_ladder(straight, tmp_path):
    _, _, work_dir = straight
    config = toy_config(tmp_path)
    config.load_from = str(work_dir / 'epoch_6.pth')
    config.train_cfg.max_epochs = 1
    runner = train(config)
    hook = next(
        h for h in runner.hooks if type(h).__name__ == 'AdaptiveClusterHook'
    )
    assert hook.ladder.current == (40, 20)


def test_resuming_a_foreign_checkpoint_is_an_error(straight, tmp_path):
    _, _, work_dir = straight
    state = torch.load(work_dir / 'epoch_1.pth', weights_only=True)
    del state['ahpcl']
    torch.save(state, tmp_path / 'other.pth')
    config = toy_config(tmp_path)
    config.resume = True
    config.load_from = str(tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'another method.*load_from'):
        train(config)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(ladder=dict(rungs=[400, 20], window=2)), '400'),
        (dict(ladder=dict(rungs=[20, 40, 30], window=2)), '30'),
        (dict(ladder=dict(rungs=[40, 40], window=2)), '40'),
        (dict(ladder=dict(rungs=[40, 0], window=2)), '0'),
        (dict(ladder=dict(rungs=[40, 20], window=3)), 'window'),
        (dict(linkage='nested'), "'nested'"),
        (dict(clustering=dict(backend='cuml')), 'cuml'),
        (dict(clustering=dict(backend='flash')), 'flash'),
        (dict(clustering=dict(n_init=0)), 'n_init'),
        (
            dict(clustering=dict(balance=2.0), linkage='divisive'),
            'balance=None',
        ),
        (
            dict(ladder=dict(rungs=[40, 39], window=2), linkage='divisive'),
            '1.25',
        ),
        (
            dict(
                policy=dict(type='StabilityPolicy'),
                clustering=dict(warm_start=True),
            ),
            'warm_start=False',
        ),
    ],
)
def test_settings_that_cannot_work_stop_before_training(
    tmp_path, change, message
):
    config = toy_config(tmp_path)
    config.custom_hooks = [{**config.custom_hooks[0], **change}]
    with pytest.raises((ValueError, ImportError), match=message):
        train(config)
    assert not list(Path(tmp_path).glob('*.pth'))


def test_fewer_images_than_a_batch_is_an_error(tmp_path):
    config = toy_config(tmp_path)
    config.train_dataloader.dataset.limit = 40
    config.custom_hooks[0].extract_dataloader.dataset.limit = 40
    with pytest.raises(ValueError, match='40 images for batches of 64'):
        train(config)


def test_a_diverging_run_stops(tmp_path):
    config = toy_config(tmp_path)
    config.optim_wrapper.optimizer.lr = 1e30
    with pytest.raises(FloatingPointError, match='learning rate'):
        train(config)


def test_without_labels_there_is_no_knn(tmp_path):
    config = toy_config(tmp_path)
    for part in config.val_dataloader.dataset.datasets:
        part.pipeline[-1].algorithm_keys = ['sample_idx']
    config.train_cfg.update(max_epochs=1, val_interval=1)
    train(config)
    log = next(Path(tmp_path).glob('*/*.log')).read_text()
    assert 'knn/top1' not in log


@pytest.mark.parametrize('linkage', ['agglomerative', 'divisive'])
def test_nested_linkages_train(tmp_path, linkage):
    config = toy_config(tmp_path, linkage=linkage)
    config.train_cfg.max_epochs = 3
    runner = train(config)
    fine, coarse = runner.model.head.hierarchy.levels
    assert torch.equal(fine.parents[fine.assignments], coarse.assignments)


def test_interval_reuses_prototypes_and_an_advance_forces_new_ones(tmp_path):
    config = toy_config(tmp_path, interval=100)
    config.custom_hooks[0].policy.epochs = 3
    train(config)
    log = next(Path(tmp_path).glob('*/*.log')).read_text()
    made = [n for n in range(1, 7) if f'E-step before epoch {n}:' in log]
    assert made == [2, 5]


def test_selection_by_parents_needs_nested_levels_from_the_start(tmp_path):
    config = toy_config(tmp_path)
    config.model.head.selection = dict(type='HierarchicalSelection')
    with pytest.raises(ValueError, match='linkage'):
        train(config)
    assert not list(Path(tmp_path).glob('*.pth'))
