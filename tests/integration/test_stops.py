"""Runs that are asked to stop, and go on as if they had not been."""

import os
import signal

import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ahpcl.runtime.checkpoint_files import good_checkpoint
from ahpcl.runtime.stop_request import TrainingStopped
from tools_modules import tool_modules
from toy import toy_config, toy_method, train

BATCHES = 7  # of an epoch
SIGTERM = signal.SIGTERM


@HOOKS.register_module(force=True)
class SignalAt(Hook):
    """Sends this process a signal at one moment of a run."""

    priority = 'VERY_HIGH'

    def __init__(self, moment, step, number=SIGTERM):
        self.moment, self.step, self.number = moment, step, number

    def _send(self, moment, runner):
        if moment == self.moment and runner.iter == self.step:
            os.kill(os.getpid(), self.number)

    def before_train_epoch(self, runner):
        self._send('epoch', runner)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._send('step', runner)

    def before_val(self, runner):
        self._send('val', runner)


@pytest.fixture(scope='module')
def records():
    with tool_modules('reliability', '_record') as modules:
        yield modules['_record']


def config_of(name, folder, **settings):
    if name == 'ahpcl':
        config = toy_config(folder)
    else:
        config = toy_method(name, folder, epochs=3)  # 10 batches each
    config.train_dataloader.update(batch_size=32, drop_last=True)
    config.train_dataloader.update(settings)
    config.default_hooks.logger.interval = 1
    # Nothing else to go on from.
    config.default_hooks.checkpoint.update(interval=100)
    return config


def stopped(config, moment, step, number=SIGTERM):
    hooks = config.get('custom_hooks') or []
    hook = dict(type='SignalAt', moment=moment, step=step, number=number)
    config.custom_hooks = [*hooks, hook]
    with pytest.raises(TrainingStopped) as caught:
        train(config)
    return caught.value.code


def resumed(config):
    config.resume = True
    config.load_from = str(good_checkpoint(config.work_dir))
    return train(config)


def last(folder):
    return good_checkpoint(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'ahpcl',
        *(
            pytest.param(name, marks=pytest.mark.campaign)
            for name in ('deepcluster', 'odc', 'swav')
        ),
    ],
)
def test_a_run_goes_on_within_an_epoch(records, tmp_path, name):
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    train(config_of(name, whole))
    batches, moments = 10, [('step', 13)]
    if name == 'ahpcl':
        batches = BATCHES
        # A step of the warm-up, the E-step, the policy's last step of an
        # epoch, a validation.
        moments = [
            *(('step', 2), ('epoch', 2 * BATCHES), ('step', 3 * BATCHES - 1)),
            *(('step', 4 * BATCHES + 4), ('val', 6 * BATCHES)),
        ]
    for count, (moment, step) in enumerate(moments):
        config = config_of(name, cut)
        if count:
            config.resume = True
            config.load_from = str(good_checkpoint(cut))
        if moment == 'val':  # nothing is left to stop
            train(config)
        else:
            assert stopped(config, moment, step) == 75
            done = step + (moment == 'step')
            expected = f'epoch_{done // batches}_batch_{done % batches}'
            assert last(cut).stem == expected, (moment, step)
    if moment != 'val':
        resumed(config_of(name, cut))
    assert not records.differences(
        records.read_record(whole), records.read_record(cut)
    )
    assert not records.differing_parts(last(whole), last(cut))
    # Those within epochs went when one of a whole epoch was written.
    assert not list(cut.glob('*_batch_*'))


def test_other_batches_are_refused_within_an_epoch(tmp_path):
    assert stopped(config_of('ahpcl', tmp_path), 'step', 3) == 75
    with pytest.raises(ValueError, match=r'batch_size 32.*got 80'):
        resumed(config_of('ahpcl', tmp_path, batch_size=80))


@pytest.mark.campaign
def test_accumulated_gradients_are_not_lost(records, tmp_path):
    def config(folder):
        built = config_of('ahpcl', folder)
        built.optim_wrapper.accumulative_counts = 4
        return built

    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    train(config(whole))
    stopped(config(cut), 'step', BATCHES + 2)
    resumed(config(cut))
    assert not records.differing_parts(last(whole), last(cut))
