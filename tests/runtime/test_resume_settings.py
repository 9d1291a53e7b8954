"""What a resume keeps, what it takes from the config, and what it refuses."""

import math
import shutil

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ahpcl.runtime.config_difference import config_difference, read_text
from commands import Command
from toy import toy_config, train

STEPS = 3  # of an epoch: 240 images in batches of 64
LR = 0.1


class Rates(Hook):
    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        (group,) = runner.optim_wrapper.param_groups
        self.seen.append((group['lr'], group['weight_decay']))


def cosine(step, length, lr=LR):
    """The paper's formula, not the recursion of the scheduler."""
    return lr / 2 * (1 + math.cos(math.pi * step / length))


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A run of four epochs, with its checkpoints."""
    folder = tmp_path_factory.mktemp('finished')
    config = short(folder, 4)
    train(config)
    return folder


def short(folder, epochs):
    config = toy_config(folder)
    config.train_cfg.update(max_epochs=epochs, val_interval=1000)
    config.custom_hooks[0].warmup_epochs = 1000
    config.merge_from_dict(
        dict(val_cfg=None, val_dataloader=None, val_evaluator=None)
    )
    return config


def resumed(folder, checkpoint, epochs, *, options=None, extend=None):
    """The rates of the steps that follow, and the log."""
    config = short(folder, epochs)
    config.resume, config.load_from = True, str(checkpoint)
    if extend:
        config.train_cfg.extend = extend
    config.merge_from_dict(options or {})
    runner = Runner.from_cfg(config)
    rates = Rates()
    runner.register_hook(rates)
    runner.train()
    log = next(folder.glob('*/*.log')).read_text()
    return rates.seen, log


def test_the_config_that_it_had_changes_nothing(finished, tmp_path):
    rates, log = resumed(tmp_path, finished / 'epoch_2.pth', 4)
    expected = [cosine(2 * STEPS + n, 4 * STEPS) for n in range(2 * STEPS)]
    assert [lr for lr, _ in rates] == pytest.approx(expected)
    assert 'from now on' not in log and 'stays' not in log
    last = torch.load(tmp_path / 'epoch_4.pth')['state_dict']
    straight = torch.load(finished / 'epoch_4.pth')['state_dict']
    assert all(torch.equal(last[key], straight[key]) for key in straight)


@pytest.mark.parametrize('epoch', [2, 4])
def test_more_epochs_are_refused_with_a_remedy(finished, tmp_path, epoch):
    with pytest.raises(ValueError, match='--extend stretch'):
        resumed(tmp_path, finished / f'epoch_{epoch}.pth', 7)
    assert not list(tmp_path.glob('*.pth'))


def test_a_stretched_schedule_is_that_of_the_longer_run(finished, tmp_path):
    rates, log = resumed(
        tmp_path, finished / 'epoch_4.pth', 7, extend='stretch'
    )
    expected = [cosine(4 * STEPS + n, 7 * STEPS) for n in range(3 * STEPS)]
    assert [lr for lr, _ in rates] == pytest.approx(expected)
    assert "extend='stretch'" in log and 'over 7 epochs' in log
    assert 'train_cfg.max_epochs is 7 from now on, was 4' in log


def test_a_restarted_schedule_begins_again(finished, tmp_path):
    options = {
        'optim_wrapper.optimizer.lr': 0.04,
        'optim_wrapper.optimizer.weight_decay': 0.5,
    }
    rates, log = resumed(
        tmp_path,
        finished / 'epoch_4.pth',
        6,
        extend='restart',
        options=options,
    )
    expected = [cosine(n, 2 * STEPS, 0.04) for n in range(2 * STEPS)]
    assert [lr for lr, _ in rates] == pytest.approx(expected)
    assert {decay for _, decay in rates} == {0.5}
    assert 'begins again with epoch 5' in log
    # It was extended once, and goes on from within as it is.
    again, log = resumed(
        tmp_path / 'again',
        tmp_path / 'epoch_5.pth',
        6,
        extend='restart',
        options=options,
    )
    assert again == rates[STEPS:]
    assert 'begins again' not in log
    last = torch.load(tmp_path / 'again' / 'epoch_6.pth')['state_dict']
    straight = torch.load(tmp_path / 'epoch_6.pth')['state_dict']
    assert all(torch.equal(last[key], straight[key]) for key in straight)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('optim_wrapper.optimizer.lr', 0.02),
        ('optim_wrapper.optimizer.momentum', 0.5),
        ('param_scheduler.0.begin', 1),
    ],
)
def test_what_the_checkpoint_decides_is_refused(
    finished, tmp_path, key, value
):
    with pytest.raises(ValueError, match=f'{key}={value} instead of'):
        resumed(tmp_path, finished / 'epoch_2.pth', 4, options={key: value})


def test_what_is_kept_on_purpose_is_said(finished, tmp_path):
    rates, log = resumed(
        tmp_path,
        finished / 'epoch_4.pth',
        5,
        extend='keep',
        options={'optim_wrapper.optimizer.lr': 0.02, 'model.momentum': 0.5},
    )
    end = cosine(4 * STEPS - 1, 4 * STEPS)
    assert [lr for lr, _ in rates] == pytest.approx([end] * STEPS)
    assert 'optimizer.lr stays 0.1 as in the checkpoint, not 0.02' in log
    assert 'model.momentum is 0.5 from now on, was 0.99' in log
    assert 'the rate ends before epoch 5' in log


def test_an_end_of_its_own_is_no_early_end(tmp_path):
    own = {'param_scheduler.0.end': 2}
    config = short(tmp_path / 'first', 4)
    config.merge_from_dict(own)
    train(config)
    rates, _ = resumed(
        tmp_path, tmp_path / 'first' / 'epoch_3.pth', 4, options=own
    )
    assert len({lr for lr, _ in rates}) == 1


def test_smaller_batches_end_the_schedule_early(finished, tmp_path):
    """The same kind, though no epoch was added: more steps, one cosine."""
    options = {'train_dataloader.batch_size': 16}
    with pytest.raises(ValueError, match='rate ends before epoch 4'):
        resumed(tmp_path, finished / 'epoch_2.pth', 4, options=options)
    rates, _ = resumed(
        tmp_path / 'stretched',
        finished / 'epoch_2.pth',
        4,
        options=options,
        extend='stretch',
    )
    expected = [cosine(30 + n, 60) for n in range(30)]  # 15 steps an epoch
    assert [lr for lr, _ in rates] == pytest.approx(expected)


def test_a_finished_run_says_that_there_is_nothing_to_do(finished, tmp_path):
    shutil.copy(finished / 'epoch_4.pth', tmp_path)
    rates, log = resumed(tmp_path, tmp_path / 'epoch_4.pth', 4)
    assert not rates
    assert 'the training of 4 epochs is over' in log


def test_an_unknown_extension(tmp_path):
    config = short(tmp_path, 2)
    config.train_cfg.extend = 'double'
    with pytest.raises(ValueError, match="'double'"):
        train(config)


def test_the_option_of_the_tool(tmp_path):
    tool = Command('run')
    config = short(tmp_path, 2)
    assert tool.parse_args(['x.py', '--extend', 'keep']).extend == 'keep'
    with pytest.raises(SystemExit, match='add --resume'):
        tool.use_extension(config, 'keep')
    config.resume = True
    tool.use_extension(config, 'keep')
    assert config.train_cfg.extend == 'keep'
    config.train_cfg.type = 'EpochBasedTrainLoop'
    with pytest.raises(SystemExit, match='drop --extend'):
        tool.use_extension(config, 'keep')


def test_the_text_of_a_config_is_read_and_never_run(tmp_path):
    from mmengine.config import Config

    trap = tmp_path / 'trap'
    text = (
        'a = dict(b=(1, 2.5), c=[dict(d="x")], e=None)\n'
        f'f = open({str(trap)!r}, "w")\n'
        "g = {'h i': -1}\n"
    )
    found = read_text(text)
    assert found['a'] == dict(b=[1, 2.5], c=[dict(d='x')], e=None)
    assert found['g'] == {'h i': -1}
    assert not trap.exists()
    config = toy_config(tmp_path)
    again = read_text(Config(config._cfg_dict).pretty_text)
    assert config_difference(again, config.to_dict()) == {}
    assert read_text('a = (') is None
