"""Several Runners in one process, as in a notebook."""

import json
import time

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner

from ahpcl import compat
from ahpcl.compat import runners
from odd_folders import ODD_FOLDERS
from toy import toy_config

LR = dict(first=0.1, second=0.07)


def config(folder, name):
    """As the user writes it: one name for the visualizer of all runs."""
    made = toy_config(folder / name)
    made.pop('experiment_name')
    made.visualizer.name = 'visualizer'
    made.train_cfg.update(max_epochs=2, val_interval=1000)
    made.custom_hooks[0].warmup_epochs = 0
    made.optim_wrapper.optimizer.lr = LR[name]
    made.merge_from_dict(
        dict(val_cfg=None, val_dataloader=None, val_evaluator=None)
    )
    return made


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """A run alone, two Runners that exist at once, and the first run again."""
    folder = tmp_path_factory.mktemp('two')
    Runner.from_cfg(config(folder / 'alone', 'second')).train()
    pair = [Runner.from_cfg(config(folder, name)) for name in LR]
    for runner in pair:
        runner.train()
    Runner.from_cfg(config(folder / 'after', 'second')).train()
    return folder, pair


def scalars(folder):
    (file,) = folder.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize('name', LR)
def test_every_run_has_its_scalars_its_log_and_its_events(two, name):
    folder, _ = two
    rates = [row['lr'] for row in scalars(folder / name) if 'lr' in row]
    assert rates and rates[0] / LR[name] == pytest.approx(1, abs=0.2)
    steps = [row['step'] for row in scalars(folder / name) if 'lr' in row]
    assert steps == sorted(steps)
    (log,) = (folder / name).glob('*/*.log')
    text = log.read_text()
    other = next(n for n in LR if n != name)
    assert str(folder / other) not in text
    # Of the hooks, by the logger that is current.
    assert text.count('E-step before epoch 1:') == 1
    assert text.count('ladder: 40, 20') == 1
    assert list((folder / name).glob('*/vis_data/events.*'))


def test_nothing_of_one_run_reaches_the_other(two):
    folder, (first, second) = two
    assert first.message_hub is not second.message_hub
    assert first.logger is not second.logger
    assert first.timestamp != second.timestamp
    found = torch.load(folder / 'after' / 'second' / 'epoch_2.pth')
    alone = torch.load(folder / 'alone' / 'second' / 'epoch_2.pth')
    for key, value in alone['state_dict'].items():
        assert torch.equal(found['state_dict'][key], value), key
    assert found['ahpcl'].keys() == alone['ahpcl'].keys()
    assert found['ahpcl']['ladder'] == alone['ahpcl']['ladder']
    assert found['message_hub']['runtime_info']['iter'] == 5
    own = torch.load(folder / 'second' / 'epoch_2.pth')
    assert own['message_hub']['runtime_info']['iter'] == 5


def test_the_runner_that_works_is_the_current_one(two):
    _, (first, second) = two
    for runner in (first, second, first):
        runners.make_current(runner)
        assert MMLogger.get_current_instance() is runner.logger
        assert MessageHub.get_current_instance() is runner.message_hub


def test_a_moment_is_taken_once(two):
    _, (first, _) = two
    before = set(runners._taken)
    moments = []
    for _ in range(3):
        first.setup_env(dict())
        moments.append(first.timestamp)
    assert len({*moments}) == 3 and not before & {*moments}
    for moment in moments:
        time.strptime(moment, '%Y%m%d_%H%M%S')


def test_they_are_fixes_like_the_others():
    names = {fix.name for fix in compat.FIXES}
    own = (
        *(runners.OWN_VISUALIZER, runners.OWN_TIMESTAMP),
        runners.CURRENT_RUNNER,
    )
    assert {fix.name for fix in own} <= names
    # They are in force, so they are not needed again.
    assert not any(fix.needed() for fix in own)


def test_every_run_is_told_of_its_images(tmp_path):
    """The same folder twice in one process, as in a notebook."""
    ODD_FOLDERS['pages'](tmp_path / 'images', count=40)
    (tmp_path / 'images' / 'a.txt').touch()
    for name in LR:
        made = config(tmp_path, name)
        made.train_cfg.max_epochs = 1
        made.train_dataloader.batch_size = made.model.queue_len = 20
        made.custom_hooks = []
        made.train_dataloader.dataset = dict(
            type='UnlabelledFolder',
            data_root=str(tmp_path / 'images'),
            pipeline=made.train_dataloader.dataset.pipeline,
        )
        Runner.from_cfg(made).train()
        (log,) = (tmp_path / name).glob('*/*.log')
        text = log.read_text()
        assert text.count('uses 40 images (40 .tif); leaves out 1') == 1
        assert text.count('40 TIFF files have several pages') == 1
