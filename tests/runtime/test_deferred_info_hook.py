"""Losses that wait on the device until somebody looks."""

import json

import pytest
import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.logging import MessageHub
from torch.utils._python_dispatch import TorchDispatchMode

from ahpcl.runtime.deferred_info_hook import DeferredInfoHook, is_logged
from toy import toy_config, train


class Reads(TorchDispatchMode):
    """Counts how often a number is read off a tensor."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count += 1
        return func(*args, **(kwargs or {}))


class Runner:
    """What the hooks read of one."""

    train_dataloader = range(10)
    work_dir = ''
    epoch = 0

    def __init__(self, name, interval=4):
        self.message_hub = MessageHub.get_instance(name)
        self.hooks = [LoggerHook(interval=interval)]
        self.iter = 0


def outputs(number):
    loss = torch.tensor(float(number), requires_grad=True)
    return dict(loss=loss, acc=torch.tensor([2.0 * number]), plain=number)


def test_the_hub_holds_every_value_and_none_is_read_in_between(request):
    ours, host = Runner(request.node.name), Runner(request.node.name + '_host')
    hook, plain = DeferredInfoHook(), RuntimeInfoHook()
    for number in range(10):
        with Reads() as reads:
            hook.after_train_iter(ours, number, None, outputs(number))
        # tolist() reads without that operation, once for each kind.
        assert reads.count == 0
        plain.after_train_iter(host, number, None, outputs(number))
        known = ours.message_hub.log_scalars.get('train/loss')
        length = 0 if known is None else len(known.data[0])
        assert length == {3: 4, 7: 8, 9: 10}.get(number, number // 4 * 4)
    with Reads() as reads:
        plain.after_train_iter(host, 10, None, outputs(10))
    assert reads.count == 2  # what mmengine reads in every iteration
    hook.after_train_iter(ours, 0, None, outputs(10))
    hook.after_train_epoch(ours)
    for name, buffer in host.message_hub.log_scalars.items():
        found = ours.message_hub.get_scalar(name)
        assert list(found.data[0]) == list(buffer.data[0])
        assert list(found.data[1]) == list(buffer.data[1])


def test_a_checkpoint_between_two_lines_knows_all_values(request):
    runner, hook = Runner(request.node.name), DeferredInfoHook()
    for number in range(2):
        hook.after_train_iter(runner, number, None, outputs(number))
    checkpoint = dict(message_hub=runner.message_hub.state_dict())
    hook.before_save_checkpoint(runner, checkpoint)
    kept = checkpoint['message_hub']['log_scalars']['train/loss']
    assert list(kept.data[0]) == [0.0, 1.0]


def test_the_graph_of_a_loss_is_let_go(request):
    runner, hook = Runner(request.node.name), DeferredInfoHook()
    hook.after_train_iter(runner, 0, None, outputs(1))
    kept = [v for _, v in hook._pending if isinstance(v, torch.Tensor)]
    assert kept
    assert not any(value.requires_grad for value in kept)


def test_a_run_logs_what_it_logs_with_the_hook_of_the_host(tmp_path):
    lines = []
    for kind in ('DeferredInfoHook', 'RuntimeInfoHook'):
        config = toy_config(tmp_path / kind)
        config.train_cfg.max_epochs = 2
        config.train_cfg.val_interval = 9
        assert config.default_hooks.runtime_info.type == 'DeferredInfoHook'
        config.default_hooks.runtime_info.type = kind
        train(config)
        (scalars,) = tmp_path.glob(f'{kind}/*/vis_data/scalars.json')
        rows = map(json.loads, scalars.read_text().splitlines())
        lines.append(
            [
                {k: v for k, v in row.items() if 'time' not in k}
                for row in rows
                if 'loss' in row
            ]
        )
    assert len(lines[0]) == 2
    assert {'loss_inst', 'acc_inst', 'lr'} <= set(lines[0][0])
    assert lines[0] == lines[1]


def test_when_a_line_is_logged(request):
    runner = Runner(request.node.name)
    due = [number for number in range(10) if is_logged(runner, number)]
    assert due == [3, 7, 9]


def test_histories_end(request):
    runner = Runner(request.node.name)
    hook = DeferredInfoHook(max_history=5)
    for number in range(40):
        runner.message_hub.update_scalar('train/time', number)
        hook.after_train_iter(runner, number % 10, outputs=outputs(number))
        runner.iter += 1
    for name in ('train/time', 'train/loss'):
        history = runner.message_hub.get_scalar(name)
        assert history.data[0][-5:].tolist() == [35, 36, 37, 38, 39]
        assert len(history.data[0]) <= 5 + 4  # and one interval of the log


def test_a_history_needs_a_length():
    with pytest.raises(ValueError, match='None for all, got 0'):
        DeferredInfoHook(max_history=0)
