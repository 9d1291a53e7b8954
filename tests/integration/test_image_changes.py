"""Results belong to images by name: files come, go, move and change."""

import os
import shutil
import signal

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from ahpcl.datasets.manifest import Manifest
from ahpcl.evaluation.cluster_table import image_table
from ahpcl.evaluation.run_data import RunData
from ahpcl.runtime.stop_request import TrainingStopped
from toy import toy_config, toy_method

NUMBER = 60


def draw(folder, numbers, tint=0):
    """Write pictures that differ, as files of equal size."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 40, (24, 24, 3)) + 40 + tint
        pixels[:, :, number % 3] += 17 * number % 110
        Image.fromarray(pixels.astype(np.uint8)).save(
            folder / f'{number:03d}.bmp'
        )


def on_folder(config, folder, epochs=2):
    """Train on a folder instead of the digits, without validation."""
    spread(
        config._cfg_dict, folder if isinstance(folder, list) else str(folder)
    )
    config.train_cfg.max_epochs = epochs
    config.train_dataloader.batch_size = 20
    for name in ('dataloader', 'evaluator', 'cfg'):
        config[f'val_{name}'] = config[f'test_{name}'] = None
    return config


def spread(node, folder):
    if isinstance(node, dict) and node.get('type') == 'Digits':
        pipeline = node['pipeline']
        node.clear()
        node.update(
            type='UnlabelledFolder', data_root=folder, pipeline=pipeline
        )
    children = node.values() if isinstance(node, dict) else node
    if isinstance(node, dict | list | tuple):
        for child in children:
            spread(child, folder)


def ahpcl_config(work_dir, folder, epochs=2, **hook):
    config = on_folder(toy_config(work_dir, **hook), folder, epochs)
    config.custom_hooks[0].ladder.rungs = [10, 5, 2]
    config.custom_hooks[0].policy = None
    config.custom_hooks[0].clustering = dict(
        type='KMeansClustering', warm_start=True, restart_every=None
    )
    return config


def resumed(config, checkpoint, epochs, *hooks):
    config.train_cfg.max_epochs = epochs
    config.train_cfg.extend = 'keep'
    config.resume, config.load_from = True, str(checkpoint)
    runner = Runner.from_cfg(config)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


class Look(Hook):
    """Keeps what a model knows of its images at one moment."""

    priority = 'LOW'

    def __init__(self, moment):
        setattr(self, moment, self._look)

    def _look(self, runner):
        self.levels = runner.model.head.hierarchy.levels
        bank = runner.model._bank
        self.rows = None if bank is None else bank.rows.clone().cpu()


class Stop(Hook):
    """Asks for the end after a step, as a queue of jobs does."""

    def __init__(self, step):
        self.step = step

    def after_train_iter(self, runner, *arguments, **named):
        if runner.iter + 1 == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def log_of(work_dir):
    return '\n'.join(p.read_text() for p in work_dir.glob('*/*.log'))


def clusters(config, checkpoint, key='k10_cluster'):
    """Cluster of every file by its name."""
    table = image_table(RunData(config, checkpoint))
    names = [path.rsplit('/', 1)[1] for path in table['path']]
    return dict(zip(names, table[key].tolist(), strict=True)), table


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    draw(folder / 'pictures', range(NUMBER))
    config = ahpcl_config(folder / 'run', folder / 'pictures')
    Runner.from_cfg(config).train()
    return folder


@pytest.fixture
def files(trained, tmp_path):
    """A copy of the pictures, to change."""
    shutil.copytree(trained / 'pictures', tmp_path / 'pictures')
    return tmp_path / 'pictures'


@pytest.fixture
def checkpoint(trained):
    return trained / 'run' / 'epoch_2.pth'


def test_clusters_go_with_a_renamed_file(trained, files, checkpoint):
    """Sorted by name, every image before it takes another place."""
    config = ahpcl_config(trained / 'run', files)
    before, table = clusters(config, checkpoint)
    assert len(set(before.values())) > 2 and 'status' not in table
    (files / '004.bmp').rename(files / 'zebra.bmp')
    after, table = clusters(config, checkpoint)
    before['zebra.bmp'] = before.pop('004.bmp')
    assert after == before and 'status' not in table


def test_other_images_are_told_and_take_the_nearest(
    trained, files, checkpoint, caplog
):
    config = ahpcl_config(trained / 'run', files)
    before, _ = clusters(config, checkpoint)
    (files / '020.bmp').unlink()
    draw(files, [33], tint=60)
    draw(files, [700])
    run = RunData(config, checkpoint)
    table = image_table(run)
    names = [path.rsplit('/', 1)[1] for path in table['path']]
    status = dict(zip(names, table['status'].tolist(), strict=True))
    assert status.pop('033.bmp') == 'changed'
    assert status.pop('700.bmp') == 'new'
    assert set(status.values()) == {'known'} and '020.bmp' not in status
    for name, own in zip(names, table['k10_cluster'].tolist(), strict=True):
        if name in status:
            assert own == before[name]
        else:
            key = run.training.keys[names.index(name)]
            assert own == int((run.hierarchy[0].centroids @ key).argmax())
    assert run.changes.new == ('700.bmp',)
    assert run.changes.changed == ('033.bmp',)
    assert run.changes.gone == ('020.bmp',)


def test_other_images_altogether_are_refused(trained, tmp_path, checkpoint):
    draw(tmp_path / 'others', range(100, 100 + NUMBER))
    config = ahpcl_config(trained / 'run', tmp_path / 'others')
    with pytest.raises(ValueError, match='data_root'):
        _ = RunData(config, checkpoint).hierarchy


def without_list(checkpoint, path):
    content = torch.load(checkpoint, weights_only=True)
    del content['ahpcl']['images']
    torch.save(content, path)
    return path


def test_a_checkpoint_without_a_list_goes_by_the_number(
    trained, files, checkpoint, tmp_path
):
    old = without_list(checkpoint, tmp_path / 'old.pth')
    config = ahpcl_config(trained / 'run', files)
    assert RunData(config, old).changes is None
    assert clusters(config, old)[0] == clusters(config, checkpoint)[0]
    (files / '000.bmp').unlink()
    with pytest.raises(ValueError, match='59 training images'):
        _ = RunData(config, old).hierarchy
    with pytest.raises(ValueError, match='59 images'):
        resumed(ahpcl_config(tmp_path / 'run', files), old, 3)


def test_training_goes_on_with_new_images(files, checkpoint, tmp_path):
    draw(files, [500, 501, 7000])
    (files / '011.bmp').unlink()
    config = ahpcl_config(tmp_path / 'run', files, interval=5)
    before = torch.load(checkpoint, weights_only=True)['ahpcl']
    resumed(config, checkpoint, 3)
    after = torch.load(tmp_path / 'run' / 'epoch_3.pth', weights_only=True)
    text = log_of(tmp_path / 'run')
    assert '3 new (500.bmp' in text and '1 gone (011.bmp)' in text
    # Epoch 3 has no E-step of its own, with interval 5.
    assert text.count('E-step before epoch 3') == 1
    old = before['hierarchy']['levels'][0]
    new = after['ahpcl']['hierarchy']['levels'][0]
    assert len(new['assignments']) == NUMBER + 2
    # Of the warm start every cluster is nearest to the one of its number.
    common = [i for i in range(NUMBER) if i != 11]
    places = torch.tensor([i - (i > 11) for i in common])
    same = old['assignments'][common] == new['assignments'][places]
    assert same.float().mean() > 0.6
    cosines = old['centroids'] @ new['centroids'].T
    assert (cosines.argmax(1) == torch.arange(10)).float().mean() > 0.6


def test_more_images_stretch_the_schedule(trained, files, tmp_path):
    """Their epochs have more steps than the checkpoint's cosine."""
    draw(files, range(500, 560))
    config = ahpcl_config(tmp_path / 'run', files)
    config.resume, config.load_from = True, str(trained / 'run/epoch_1.pth')
    runner = Runner.from_cfg(config)
    runner.train()
    assert 'is stretched over 2 epochs' in log_of(tmp_path / 'run')
    (schedule,) = runner.param_schedulers
    assert schedule._global_step == schedule.end == 2 * 6  # batches of 20


def test_training_goes_on_with_renamed_images(files, checkpoint, tmp_path):
    (files / '000.bmp').rename(files / '1000.bmp')
    config = ahpcl_config(tmp_path / 'run', files, interval=5)
    look = Look('before_train_epoch')
    resumed(config, checkpoint, 3, look)
    text = log_of(tmp_path / 'run')
    assert '1 of them renamed (000.bmp -> 1000.bmp)' in text
    assert 'E-step before epoch 3' not in text
    before = torch.load(checkpoint, weights_only=True)['ahpcl']['hierarchy']
    for old, new in zip(before['levels'], look.levels, strict=True):
        assert torch.equal(new.assignments, old['assignments'].roll(-1))


def test_a_bank_follows_its_images(files, tmp_path, trained):
    work_dir = tmp_path / 'first'
    config = ahpcl_config(work_dir, files, features='bank')
    Runner.from_cfg(config).train()
    before = torch.load(work_dir / 'epoch_2.pth', weights_only=True)
    (files / '000.bmp').rename(files / '1000.bmp')
    config = ahpcl_config(tmp_path / 'run', files, features='bank')
    look = Look('before_train')
    resumed(config, work_dir / 'epoch_2.pth', 2, look)
    rows = before['ahpcl']['bank']['rows']
    assert torch.equal(look.rows, rows.roll(-1, dims=0))


def test_within_an_epoch_the_images_must_be_the_same(
    files, checkpoint, tmp_path
):
    config = ahpcl_config(tmp_path / 'first', files)
    with pytest.raises(TrainingStopped):
        resumed(config, checkpoint, 3, Stop(step=8))
    within = tmp_path / 'first' / 'epoch_2_batch_2.pth'
    assert 'batches' in torch.load(within, weights_only=True)['ahpcl']
    draw(files, [900])
    (files / '059.bmp').unlink()
    config = ahpcl_config(tmp_path / 'run', files)
    with pytest.raises(ValueError, match='1 new') as caught:
        resumed(config, within, 3)
    assert '--resume FILE' in str(caught.value)
    # The remedy works.
    config = ahpcl_config(tmp_path / 'again', files)
    resumed(config, checkpoint, 3)
    (files / '900.bmp').unlink()
    draw(files, [59])
    config = ahpcl_config(tmp_path / 'back', files)
    resumed(config, within, 3)


@pytest.mark.parametrize('name', ['deepcluster', 'sela', 'odc'])
def test_labels_of_other_methods_follow(name, files, tmp_path):
    def made(work_dir, epochs=1):
        config = on_folder(toy_method(name, work_dir), files, epochs)
        spread_size(config._cfg_dict)
        return config

    Runner.from_cfg(made(tmp_path / 'first')).train()
    saved = tmp_path / 'first' / 'epoch_1.pth'
    before = labels_of(saved)
    (files / '000.bmp').rename(files / '1000.bmp')
    config = made(tmp_path / 'run')
    config.resume, config.load_from = True, str(saved)
    runner = Runner.from_cfg(config)
    runner.train()  # nothing is left to train
    model = runner.model
    own = (
        model.memory_bank.label_bank if name == 'odc' else model.pseudo_labels
    )
    assert torch.equal(own.cpu().long(), before.roll(-1))
    draw(files, [600])
    (files / '1000.bmp').unlink()
    config = made(tmp_path / 'other')
    if name == 'odc':
        with pytest.raises(ValueError, match='load_from'):
            resumed(config, saved, 2)
        return
    resumed(config, saved, 1)
    assert 'labelled again' in log_of(tmp_path / 'other')
    resumed(made(tmp_path / 'more'), saved, 2)


def labels_of(path):
    content = torch.load(path, weights_only=True)
    if 'memory_bank.label_bank' in content['state_dict']:
        return content['state_dict']['memory_bank.label_bank']
    return content['ahpcl']['pseudo_labels'].long()


def spread_size(node):
    """Fit a method to so few images."""
    if isinstance(node, dict):
        if 'num_classes' in node:
            node['num_classes'] = 5
        if node.get('type') == 'OnlineClusteringMemory':
            node.update(length=NUMBER, num_classes=5, min_cluster=2)
    children = node.values() if isinstance(node, dict) else node
    if isinstance(node, dict | list | tuple):
        for child in children:
            spread_size(child)


def test_a_run_below_its_data_takes_no_picture_of_its_own(files):
    """Pictures of the first part are there when the second begins."""
    work_dir = files / 'my runs' / 'first'
    Runner.from_cfg(ahpcl_config(work_dir, files)).train()
    assert len(listed(work_dir / 'epoch_2.pth')) == NUMBER
    draw(work_dir / 'figures', range(3))
    draw(work_dir / 'my pictures' / 'deep', range(3))
    resumed(ahpcl_config(work_dir, files), work_dir / 'epoch_2.pth', 3)
    assert len(listed(work_dir / 'epoch_3.pth')) == NUMBER
    other = files / 'my runs' / 'second'
    Runner.from_cfg(ahpcl_config(other, files)).train()
    assert len(listed(other / 'epoch_2.pth')) == NUMBER


def listed(path):
    state = torch.load(path, weights_only=True)['ahpcl']['images']
    return Manifest.from_state_dict(state)


def test_joined_data_sets_train_as_one(tmp_path):
    draw(tmp_path / 'one', range(30))
    draw(tmp_path / 'two', range(30, 60))
    whole = ahpcl_config(
        tmp_path / 'whole', [str(tmp_path / n) for n in ('one', 'two')]
    )
    joined = ahpcl_config(tmp_path / 'joined', str(tmp_path / 'one'))
    for loader in (
        joined.train_dataloader,
        joined.custom_hooks[0].extract_dataloader,
    ):
        parts = [
            dict(loader.dataset, data_root=str(tmp_path / name))
            for name in ('one', 'two')
        ]
        loader.dataset = dict(type='ConcatDataset', datasets=parts)
    found = []
    for config in (whole, joined):
        Runner.from_cfg(config).train()
        path = f'{config.work_dir}/epoch_2.pth'
        found.append(torch.load(path, weights_only=True))
    one, other = found
    names = [
        listed(f'{c.work_dir}/epoch_2.pth').names for c in (whole, joined)
    ]
    assert names[0] == names[1]
    assert names[0][0] == 'one/000.bmp' and names[0][-1] == 'two/059.bmp'
    for first, second in zip(
        one['ahpcl']['hierarchy']['levels'],
        other['ahpcl']['hierarchy']['levels'],
        strict=True,
    ):
        assert torch.equal(first['assignments'], second['assignments'])
    for name, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][name]), name
