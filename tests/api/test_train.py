"""A folder becomes a run: what was chosen, written, said and trained."""

import multiprocessing
import os
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import ahpcl
from ahpcl.api.plan import Request
from ahpcl.api.train import prepare
from ahpcl.cli.main import main
from commands import Command
from odd_folders import ODD_FOLDERS, save, scene

IMAGES = 40
# A smaller encoder than is chosen: the tests are about everything else.
SMALL = {
    'model.backbone.stem_channels': 8,
    'model.backbone.base_channels': 8,
    'model.neck.in_channels': 32,
    'default_hooks.checkpoint.interval': 1,
}


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Two folders of small images, bright ones and dark ones."""
    root = tmp_path_factory.mktemp('data') / 'photos'
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        folder = root / ('dark', 'light')[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 100, (16, 16, 3)) + 150 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(
            folder / f'{number:02d}.png'
        )
    return root


@pytest.fixture(scope='module')
def trained(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp('runs') / 'photos'
    return ahpcl.train(photos, out, epochs=2, cfg_options=SMALL)


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def same(one, other):
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_run_holds_its_config_and_stands_for_its_folder(trained):
    assert trained.checkpoint.name == 'epoch_2.pth'
    assert trained.config == trained.folder / 'config.py'
    choices = Config.fromfile(trained.config).choices
    assert 'no GPU' in choices.encoder
    assert os.fspath(trained) == str(trained.folder)
    # Said once in a process, in the log of the first run.
    log = next(trained.folder.glob('*/*.log')).read_text()
    assert 'uses 40 images (40 .png)' in log


def test_the_written_config_trains_the_same(trained, tmp_path):
    """Both doors lead into one room, to the bit."""
    Command('run').main([str(trained.config), '--work-dir', str(tmp_path)])
    same(trained.checkpoint, tmp_path / 'epoch_2.pth')


def test_the_first_screen(photos, tmp_path, capsys):
    ahpcl.train(photos, tmp_path, epochs=1, cfg_options=SMALL)
    said = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(said) if 'Epoch(train)' in line)
    screen = '\n'.join(said[:first])
    assert first <= 20, screen
    for text in (
        rf'images +{IMAGES} in {re.escape(str(photos))}, 16 x 16 px',
        r'size +16 px \(a CPU',
        r'encoder +ResNet_CIFAR-18, 0\.\d M weights, on the cpu \(there is',
        r'batch +8 images',
        r'queue +16 keys',
        r'ladder +8, 4, 2 clusters, 3 at a time',
        r'checks +KNN every 1 epochs \(2 classes of class folders',
        r'epochs +1 of 5 steps',
        rf'goes to +{re.escape(str(tmp_path))}',
    ):
        assert re.search(text, screen), text
    assert 'knn/top1' in '\n'.join(said)
    # The log has all of it.
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'System environment' in log and 'Config:' in log
    assert f'{IMAGES} in {photos}' in log


def test_verbose_says_all(photos, tmp_path, capsys):
    ahpcl.train(photos, tmp_path, epochs=1, cfg_options=SMALL, verbose=True)
    said = capsys.readouterr().out
    assert 'System environment' in said and 'Hooks will be' in said


def test_a_run_is_not_overwritten_but_resumed(trained, photos, tmp_path):
    out = tmp_path / 'run'
    shutil.copytree(trained.folder, out)
    with pytest.raises(ValueError, match=r'epoch_2\.pth: resume=True'):
        ahpcl.train(photos, out, epochs=2)
    # Finished: nothing is trained.
    again = ahpcl.train(photos, out, resume=True)
    same(again.checkpoint, trained.checkpoint)
    # Stopped after an epoch: the rest is as it would have been.
    (out / 'epoch_2.pth').unlink()
    (out / 'last_checkpoint').write_text(str(out / 'epoch_1.pth'))
    again = ahpcl.train(photos, out, resume=True)
    same(again.checkpoint, trained.checkpoint)


def test_options_that_a_resumed_run_does_not_read_are_named(
    trained, photos, tmp_path, monkeypatch
):
    said = []
    monkeypatch.setattr(sys.modules['ahpcl.api.train'], '_warn', said.append)
    out = tmp_path / 'run'
    shutil.copytree(trained.folder, out)
    ahpcl.train(photos, out, resume=True, cfg_options=SMALL)  # as it is
    assert said == []
    options = {**SMALL, 'optim_wrapper.clip_grad.max_norm': 5.0}
    ahpcl.train(photos, out, resume=True, cfg_options=options)
    (line,) = said
    assert line.startswith('optim_wrapper.clip_grad.max_norm=5.0 is not read')
    remedy = line.split('with it: ahpcl ', 1)[1].split()
    assert main(remedy) == 0
    assert 'max_norm' in (out / 'config.py').read_text()


def test_resume_without_a_run_begins(photos, tmp_path):
    run = ahpcl.train(
        photos, tmp_path / 'new', epochs=1, resume=True, cfg_options=SMALL
    )
    assert run.checkpoint.name == 'epoch_1.pth'


def test_time_is_measured_and_too_little_is_refused(photos, tmp_path):
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=r'got 0\.001: .*minutes=') as error:
        prepare(photos, tmp_path, Request(minutes=0.001, cfg_options=SMALL))
    # The remedy works.
    least = float(re.search(r'minutes=([\d.]+)', str(error.value))[1])
    plan = prepare(
        photos, tmp_path, Request(minutes=least + 0.5, cfg_options=SMALL)
    )
    assert plan.config.train_cfg.max_epochs >= 1
    assert 0 < plan.config.expected_seconds <= 60 * (least + 0.5)
    assert 'ms a step were measured' in plan.config.choices.epochs
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(minutes=1, epochs=1), 'minutes or epochs, got both'),
        (dict(minutes=0), 'minutes above 0, got 0'),
        (dict(epochs=-1), 'epochs above 0, got -1'),
        (dict(epochs=1.5), 'whole epochs, got 1.5'),
    ],
)
def test_lengths_that_are_none(photos, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        ahpcl.train(photos, tmp_path / 'none', **options)
    assert not (tmp_path / 'none').exists()


def test_a_damaged_file_is_named_or_left_out(photos, tmp_path):
    folder = tmp_path / 'photos'
    shutil.copytree(photos, folder)
    (folder / 'dark' / 'broken.png').write_bytes(b'no image')
    options = dict(epochs=1, labels=None, cfg_options=SMALL)
    with pytest.raises(ValueError, match=r'dark/broken\.png'):
        ahpcl.train(folder, tmp_path / 'run', **options)
    run = ahpcl.train(
        folder, tmp_path / 'run', skip_unreadable=True, **options
    )
    state = torch.load(run.checkpoint, weights_only=True)
    hierarchy = state['ahpcl']['hierarchy']
    assert len(hierarchy['levels'][0]['assignments']) == IMAGES


def test_what_is_asked_for_wins(photos, tmp_path):
    options = {
        **SMALL,
        'train_cfg.val_interval': 3,
        'optim_wrapper.optimizer.lr': 0.5,
        'train_dataloader.batch_size': 16,
    }
    plan = prepare(photos, tmp_path, Request(epochs=4, cfg_options=options))
    config = plan.config
    assert config.train_cfg.val_interval == 3
    assert config.optim_wrapper.optimizer.lr == 0.5
    assert config.train_dataloader.batch_size == 16
    assert config.work_dir == str(tmp_path)


@pytest.mark.slow
def test_workers_need_no_fork(trained, photos, tmp_path):
    """As on macOS and Windows, where workers are spawned."""
    method = multiprocessing.get_start_method()
    options = {'env_cfg.mp_cfg.mp_start_method': 'spawn'}
    for loader in ('train_dataloader', 'extract_dataloader'):
        options[f'{loader}.num_workers'] = 1
        options[f'{loader}.persistent_workers'] = True
    try:
        run = ahpcl.train(
            photos, tmp_path, epochs=2, cfg_options={**SMALL, **options}
        )
    finally:
        multiprocessing.set_start_method(method, force=True)
    same(run.checkpoint, trained.checkpoint)


@pytest.mark.parametrize(
    ('kind', 'channels', 'range_of'),
    [('twelve_bits', 3, 'uint16'), ('seven_bands', 7, None)],
)
def test_depth_and_bands_are_in_the_written_config(
    tmp_path, kind, channels, range_of
):
    """What `ahpcl.train` writes reads all images alike, in every loader."""
    ODD_FOLDERS[kind](tmp_path / 'images', count=40)
    run = ahpcl.train(
        tmp_path / 'images', tmp_path / 'run', epochs=1, cfg_options=SMALL
    )
    config = Config.fromfile(run.config)
    assert config.model.backbone.get('in_channels', 3) == channels
    (hook,) = [h for h in config.custom_hooks if 'ladder' in h]
    for loader in (config.train_dataloader, hook.extract_dataloader):
        assert loader.dataset.channels == channels
        assert range_of is None or range_of in loader.dataset.range
    text = next(run.folder.glob('*/*.log')).read_text('utf-8')
    assert f'{channels} bands' in text
    features = ahpcl.load(run, device='cpu').embed(tmp_path / 'images')
    assert features.shape == (40, 32) and np.isfinite(features).all()
    assert features.std(0).max() > 0  # not all black


def test_several_folders_are_one_training(tmp_path):
    """Images of two cameras: two sizes, two depths; and a list."""
    for place in range(10):
        small = scene(place, (20, 16)).astype(np.uint8)
        deep = scene(place, (40, 24), bands=1, low=60, high=900)
        for name, values in (
            ('near/x', small),
            ('far/x', deep[:, :, 0].astype(np.uint16)),
        ):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(tmp_path / name / f'{place}.png')
    save(tmp_path / 'more' / 'one.webp', scene(99))
    (tmp_path / 'list.txt').write_text('more/one.webp\n')
    roots = [str(tmp_path / n) for n in ('near/x', 'far/x', 'list.txt')]
    options = [f'{key}={value}' for key, value in SMALL.items()]
    Command('train').main(
        [*roots, '--out', str(tmp_path / 'run'), '--epochs', '1']
        + ['--cfg-options', *options]
    )
    encoder = ahpcl.load(tmp_path / 'run', device='cpu')
    names = encoder.training_images
    assert len(names) == 21
    assert {'near/x/3.png', 'far/x/3.png'} <= set(names)
    ((dtype, _),) = encoder._features.pipeline.pixels.ranges
    assert dtype == 'uint16'


def test_a_key_that_leads_nowhere_is_told(photos, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        sys.modules[prepare.__module__],
        'print_log',
        lambda text, **_: said.append(text),
    )
    options = {**SMALL, 'optim_wrapper.optimizer.rate': 1}
    with pytest.raises(Exception, match='rate'):
        ahpcl.train(photos, tmp_path, epochs=1, cfg_options=options)
    assert any("has no 'rate' there" in text for text in said)
