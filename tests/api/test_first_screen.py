"""What a training says before its first epoch, whatever config it has."""

import pytest
from mmengine.config import Config

from ahpcl.api import first_screen
from ahpcl.api.first_screen import build_runner, duration
from ahpcl.runtime import optim_wrapper
from odd_folders import ODD_FOLDERS
from toy import CONFIGS, toy_config


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(90, '90 seconds'), (5400, '90 minutes'), (9000, '2.5 hours')],
)
def test_times_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def screen_of(config, capsys, **options):
    build_runner(config, **options).train()
    said = capsys.readouterr().out
    return said[: said.index('Epoch(train)')]


def test_a_config_of_the_digits(tmp_path, capsys):
    config = toy_config(tmp_path)
    config.train_cfg.update(max_epochs=6, val_interval=6)
    screen = screen_of(config, capsys)
    assert len(screen.splitlines()) <= 20
    assert 'images   240' in screen
    assert 'ladder   40, 20, 10, 5, 2 clusters, 2 at a time' in screen
    # One epoch of warm-up, three advances of two epochs.
    assert 'needs 7 to 7 epochs' in screen
    assert 'the ladder cannot end' in screen  # a warning is never dropped
    # The file has what the screen has not.
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert len(log.splitlines()) > 200
    assert 'without E-steps and validation' in log


@pytest.mark.parametrize('fast', [False, True])
def test_bfloat16_is_said_where_it_is_used(
    tmp_path, capsys, monkeypatch, fast
):
    for module in (first_screen, optim_wrapper):
        monkeypatch.setattr(module, 'has_bf16_instructions', lambda kind: fast)
    config = toy_config(tmp_path)
    config.optim_wrapper.type = 'BF16OptimWrapper'
    config.choices = dict(precision='as tested')
    config.train_cfg.update(max_epochs=1, val_interval=1)
    screen = screen_of(config, capsys)
    assert ('  computes in bfloat16 (as tested)\n' in screen) is fast


def test_the_bare_folder_config_names_the_thin_encoder(
    tmp_path, make_image, capsys
):
    """A ResNet-18 on a CPU."""
    for number in range(16):
        make_image(tmp_path / 'images' / f'{number}.png', number, (90, 90))
    config = Config.fromfile(CONFIGS / 'ahpcl_folder.py')
    config.work_dir = str(tmp_path / 'run')
    config.launcher = 'none'
    config.visualizer.name = config.experiment_name = 'bare_folder'
    (hook,) = config.custom_hooks
    hook.ladder = dict(type='ClusterLadder', rungs=[4, 2], window=2)
    hook.policy, hook.warmup_epochs = None, 0
    config.model.queue_len = 8
    for loader in (config.train_dataloader, hook.extract_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(tmp_path / 'images')
    config.train_dataloader.batch_size = 8
    config.train_cfg.max_epochs = 1
    screen = screen_of(config, capsys)
    assert 'ResNet-18, 11.5 M weights, on the cpu' in screen
    assert 'ahpcl train FOLDER' in screen
    assert '90 x 90 px' in screen


def test_what_nobody_asked_for_is_on_the_screen(tmp_path, capsys):
    """Files left out, first pages, transparent pixels."""
    root = tmp_path / 'images'
    ODD_FOLDERS['pages'](root / 'stacks', count=9)
    ODD_FOLDERS['transparent'](root / 'cut', count=3)
    (root / 'notes.md').write_text('no image')
    config = toy_config(tmp_path / 'run')
    config.train_cfg.update(max_epochs=1, val_interval=9)
    config.train_dataloader.batch_size = 8
    config.model.queue_len = 8
    (hook,) = config.custom_hooks
    hook.ladder = dict(type='ClusterLadder', rungs=[4, 2], window=2)
    hook.policy = None
    for loader in (config.train_dataloader, hook.extract_dataloader):
        loader.dataset = dict(
            type='UnlabelledFolder',
            data_root=str(root),
            pipeline=loader.dataset.pipeline,
        )
    for part in ('val', 'test'):
        for name in ('dataloader', 'cfg', 'evaluator'):
            config[f'{part}_{name}'] = None
    screen = screen_of(config, capsys)
    assert screen.count('; leaves out 1 (1 .md) that are no images') == 1
    assert screen.count('9 TIFF files have several pages') == 1
    assert screen.count('9 images have an alpha channel') == 1
