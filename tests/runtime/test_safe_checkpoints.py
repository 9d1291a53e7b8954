"""Checkpoints that load safely and resume exactly, with a real Runner."""

import enum
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from ahpcl import compat
from ahpcl.runtime.safe_checkpoint_hook import (
    SafeCheckpointHook,
    pack_history,
    to_plain,
    unpack_history,
)

compat.apply_all()


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 1)

    def forward(self, inputs, mode='tensor'):
        return {'loss': self.layer(inputs).square().mean()}


def make_runner(folder: Path, epochs: int, name: str, **extra) -> Runner:
    data = torch.arange(16.0).reshape(8, 2) / 16
    loader = {
        'dataset': [{'inputs': row} for row in data],
        'batch_size': 2,
        'num_workers': 0,
        'collate_fn': {'type': 'default_collate'},
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
    }
    return Runner(
        model=Toy(),
        work_dir=str(folder),
        train_dataloader=loader,
        train_cfg={'by_epoch': True, 'max_epochs': epochs},
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}},
        param_scheduler={'type': 'CosineAnnealingLR', 'T_max': 4},
        default_hooks={'logger': {'type': 'LoggerHook', 'interval': 1}},
        custom_hooks=[{'type': 'SafeCheckpointHook'}],
        randomness={'seed': 0},
        default_scope='mmengine',
        experiment_name=name,
        log_level='ERROR',
        **extra,
    )


def losses(runner: Runner) -> list[float]:
    return runner.message_hub.get_scalar('train/loss').data[0].tolist()


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Four epochs at once, and the last two again from the second."""
    folder = tmp_path_factory.mktemp('runs')
    torch.set_num_threads(1)
    whole = make_runner(folder / 'whole', 4, 'plain_whole')
    whole.message_hub.update_info('numpy', np.float64(2.5))
    whole.train()
    path = folder / 'whole' / 'epoch_2.pth'
    again = make_runner(
        folder / 'again', 4, 'plain_again', load_from=str(path), resume=True
    )
    again.train()
    return again, whole, path


def test_our_checkpoint_loads_with_weights_only(runs):
    _, whole, path = runs
    loaded = torch.load(path, weights_only=True)
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert history['log_history'].tolist() == losses(whole)[:8]
    assert history['count_history'] == 1
    assert type(loaded['message_hub']['runtime_info']['numpy']) is float
    assert loaded['meta']['epoch'] == 2


def test_the_host_cannot_load_its_own(tmp_path):
    runner = make_runner(tmp_path, 1, 'without_the_hook')
    runner._hooks = [
        h for h in runner.hooks if not isinstance(h, SafeCheckpointHook)
    ]
    runner.train()
    with pytest.raises(Exception, match='Weights only load failed'):
        torch.load(tmp_path / 'epoch_1.pth', weights_only=True)


def test_resumed_logs_go_on_as_if_never_stopped(runs):
    again, whole, _ = runs
    assert len(losses(whole)) == 16
    assert losses(again) == losses(whole)
    assert again.message_hub.get_info('numpy') == 2.5
    for one, other in zip(
        again.model.parameters(), whole.model.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_smoothing_reaches_back_over_the_resume(runs):
    again, whole, _ = runs
    buffers = [
        run.message_hub.get_scalar('train/loss') for run in (again, whole)
    ]
    assert buffers[0].mean(12) == buffers[1].mean(12)


def test_saving_leaves_the_live_message_hub_alone(runs):
    _, whole, _ = runs
    buffer = whole.message_hub.get_scalar('train/loss')
    assert isinstance(buffer, HistoryBuffer)
    assert isinstance(whole.message_hub.get_info('numpy'), np.float64)


def test_a_trusted_host_checkpoint_resumes_too(tmp_path, monkeypatch):
    runner = make_runner(tmp_path / 'a', 1, 'host_made')
    runner._hooks = [
        h for h in runner.hooks if not isinstance(h, SafeCheckpointHook)
    ]
    runner.train()
    monkeypatch.setenv('AHPCL_TRUST_PICKLE', '1')
    again = make_runner(
        tmp_path / 'b',
        2,
        'host_resumed',
        load_from=str(tmp_path / 'a' / 'epoch_1.pth'),
        resume=True,
    )
    again.train()
    assert losses(again)[:4] == losses(runner)
    assert len(losses(again)) == 8


def test_the_hook_runs_after_every_other():
    assert SafeCheckpointHook.priority == 'LOWEST'
    assert CheckpointHook.priority != 'LOWEST'


class Colour(enum.IntEnum):
    RED = 3


class Stranger:
    pass


def test_to_plain_converts_what_a_safe_load_refuses(tmp_path):
    value = {
        'scalar': np.float32(0.5),
        'flag': np.bool_(True),
        'text': np.str_('a'),
        'array': np.arange(3),
        'names': np.array(['x', 'y']),
        'path': Path('a') / 'b',
        'config': ConfigDict(lr=np.float64(0.1)),
        'enum': Colour.RED,
        'nest': [(np.int64(1), None), OrderedDict(k=np.uint8(2))],
        np.int64(7): 'key',
    }
    strangers: list[str] = []
    plain = to_plain(value, strangers)
    assert not strangers
    torch.save(plain, tmp_path / 'x.pth')
    loaded = torch.load(tmp_path / 'x.pth', weights_only=True)
    assert loaded['array'].tolist() == [0, 1, 2]
    del loaded['array']
    assert loaded == {
        'scalar': 0.5,
        'flag': True,
        'text': 'a',
        'names': ['x', 'y'],
        'path': str(Path('a') / 'b'),
        'config': {'lr': 0.1},
        'enum': 3,
        'nest': [(1, None), {'k': 2}],
        7: 'key',
    }


def test_to_plain_returns_plain_values_themselves():
    value = {'a': [1, (2.0, 'x')], 'b': torch.ones(2)}
    assert to_plain(value, []) is value


def test_what_stays_foreign_is_named_once(caplog):
    hook = SafeCheckpointHook()
    stranger = Stranger()
    checkpoint = {'meta': {'who': [stranger]}}
    seen: list[str] = []
    to_plain(checkpoint, seen)
    assert seen == ['.meta.who[0]: Stranger']
    hook.before_save_checkpoint(None, checkpoint)
    assert checkpoint['meta']['who'][0] is stranger
    assert hook._warned == {'meta.who[0]: Stranger'}


def test_histories_survive_packing():
    buffer = HistoryBuffer([1.0, 2.0, 4.0], [1, 2, 1], max_length=10)
    again = unpack_history(pack_history(buffer))
    np.testing.assert_array_equal(again.data[0], [1.0, 2.0, 4.0])
    np.testing.assert_array_equal(again.data[1], [1, 2, 1])
    assert again.max_length == 10
    again.update(8.0)
    assert again.mean(2) == 6.0
    empty = unpack_history(pack_history(HistoryBuffer()))
    assert len(empty.data[0]) == 0


def test_long_histories_stay_small(tmp_path):
    buffer = HistoryBuffer(np.arange(1_000_000) / 7, np.ones(1_000_000, int))
    torch.save(pack_history(buffer), tmp_path / 'all.pth')
    assert (tmp_path / 'all.pth').stat().st_size < 8.1e6
