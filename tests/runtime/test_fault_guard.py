"""What a run leaves behind that ends with an error."""

import multiprocessing
import os
import signal
import time
from multiprocessing.process import BaseProcess

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.utils.data import DataLoader, TensorDataset

from ahpcl.runtime import fault_guard
from ahpcl.runtime.checkpoint_files import good_checkpoint
from toy import toy_config, train


@HOOKS.register_module(force=True)
class FailAt(Hook):
    """Raises at one moment of a run."""

    priority = 'VERY_HIGH'

    def __init__(self, moment, step):
        self.moment, self.step = moment, step

    def _fail(self, moment, runner):
        if moment == self.moment and runner.iter == self.step:
            raise RuntimeError('out of order')

    def before_train(self, runner):
        self._fail('start', runner)

    def before_train_epoch(self, runner):
        self._fail('epoch', runner)

    def after_train_iter(self, runner, batch_idx, **_):
        self._fail('step', runner)

    def before_val(self, runner):
        self._fail('val', runner)


def failing(tmp_path, moment, step, **checkpoint):
    config = toy_config(tmp_path)  # 3 batches an epoch, of 6
    config.default_hooks.checkpoint.update(interval=100, **checkpoint)
    config.train_cfg.update(val_interval=2, max_epochs=2)
    config.custom_hooks.append(dict(type='FailAt', moment=moment, step=step))
    return config


def log_of(folder):
    (text,) = folder.glob('*/*.log')
    return text.read_text()


@pytest.mark.parametrize(
    ('moment', 'step', 'saved'),
    [('epoch', 3, 'epoch_1_batch_0.pth'), ('val', 6, 'epoch_2_batch_0.pth')],
)
def test_what_changes_nothing_is_saved(tmp_path, moment, step, saved):
    with pytest.raises(RuntimeError, match='out of order'):
        train(failing(tmp_path, moment, step))
    assert good_checkpoint(tmp_path).name == saved
    said = log_of(tmp_path)
    assert 'RuntimeError: out of order; saved as' in said
    assert f'{saved}; go on with --resume' in said


def test_within_a_step_the_last_good_one_is_named(tmp_path):
    with pytest.raises(RuntimeError, match='out of order'):
        train(failing(tmp_path, 'step', 4, step_interval=2))
    assert good_checkpoint(tmp_path).name == 'epoch_1_batch_1.pth'
    said = log_of(tmp_path)
    assert 'epoch 2 after 1 batches: RuntimeError: out of order' in said
    assert 'last good checkpoint is ' in said


def test_before_the_start_nothing_is_saved(tmp_path):
    with pytest.raises(RuntimeError, match='out of order'):
        train(failing(tmp_path, 'start', 0))
    assert good_checkpoint(tmp_path) is None
    assert 'no checkpoint was written yet' in log_of(tmp_path)


def test_a_resume_that_fails_leaves_the_checkpoint_as_it_was(tmp_path):
    with pytest.raises(RuntimeError):
        train(failing(tmp_path, 'step', 4, step_interval=2))
    path = good_checkpoint(tmp_path)
    content = torch.load(path, weights_only=True)
    content['ahpcl']['ranks'] *= 2  # of two processes
    torch.save(content, path)
    config = toy_config(tmp_path)
    config.train_cfg.extend = 'keep'
    config.resume, config.load_from = True, str(path)
    with pytest.raises(ValueError, match='with 2 process'):
        train(config)
    assert good_checkpoint(tmp_path) == path


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    config = toy_config(tmp_path)
    config.train_cfg.update(max_epochs=1, val_interval=2)
    config.custom_hooks.append(dict(type='SpoilAtEnd'))
    with pytest.raises(FloatingPointError, match='in backbone'):
        train(config)
    assert good_checkpoint(tmp_path) is None


@HOOKS.register_module(force=True)
class SpoilAtEnd(Hook):
    """Makes a weight NaN after the last loss of an epoch."""

    priority = 'VERY_HIGH'

    def after_train_epoch(self, runner):
        with torch.no_grad():
            next(runner.model.backbone.parameters()).fill_(float('nan'))


def said_about(monkeypatch, work):
    said = []
    monkeypatch.setattr(
        fault_guard, 'print_log', lambda text, **_: said.append(text)
    )
    guard = fault_guard.FaultGuard(None, None, lambda: (0, 1))
    with pytest.raises((ConnectionError, EOFError)), guard.watching():
        work()
    (text,) = said
    return text


def test_a_batch_lost_with_its_worker_names_the_worker(monkeypatch):
    """torch does not, if the worker still counts as alive at that moment."""
    loader = DataLoader(TensorDataset(torch.zeros(64, 100)), 4, num_workers=1)
    batches = iter(loader)
    next(batches)
    time.sleep(1)  # the next ones are ready
    for worker in multiprocessing.active_children():
        monkeypatch.setattr(BaseProcess, 'is_alive', lambda _: True)
        default = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        signal.signal(signal.SIGCHLD, default)
    said = said_about(monkeypatch, lambda: list(batches))
    assert 'DataLoader worker died' in said


def test_another_lost_connection_blames_no_worker(monkeypatch):
    def fail():
        raise ConnectionResetError('the storage hung up')

    said = said_about(monkeypatch, fail)
    assert 'the storage hung up' in said
    assert 'DataLoader worker' not in said
