from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ahpcl.runtime import InvalidLossHook


def runner(work_dir, iteration):
    return SimpleNamespace(
        work_dir=str(work_dir), iter=iteration, epoch=2, hooks=[]
    )


def outputs(value):
    return dict(loss=torch.tensor(value), loss_inst=torch.tensor(value))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_stops_and_names_the_last_good_checkpoint(tmp_path, value):
    Path(tmp_path, 'last_checkpoint').write_text('runs/epoch_2.pth')
    hook = InvalidLossHook()
    hook.after_train_iter(runner(tmp_path, 7), 0, {}, outputs(1.0))
    with pytest.raises(FloatingPointError) as error:
        hook.after_train_iter(runner(tmp_path, 8), 0, {}, outputs(value))
    message = str(error.value)
    assert 'iteration 8' in message
    assert 'runs/epoch_2.pth' in message
    assert 'learning rate' in message


def test_names_no_checkpoint_of_another_run(tmp_path):
    Path(tmp_path, 'last_checkpoint').write_text('runs/epoch_2.pth')
    hook, own = InvalidLossHook(), runner(tmp_path, 8)
    own.hooks = [SimpleNamespace(last_good=None)]
    with pytest.raises(FloatingPointError, match='No checkpoint was written'):
        hook.after_train_iter(own, 0, {}, outputs(float('nan')))


def test_says_when_there_is_no_checkpoint_yet(tmp_path):
    hook = InvalidLossHook()
    with pytest.raises(FloatingPointError, match='No checkpoint was written'):
        hook.after_train_iter(
            runner(tmp_path, 0), 0, {}, outputs(float('nan'))
        )


def test_end_of_epoch_remembers_a_bad_iteration(tmp_path):
    hook = InvalidLossHook()
    hook._first_bad = torch.tensor(3)
    with pytest.raises(FloatingPointError, match='iteration 3'):
        hook.after_train_epoch(runner(tmp_path, 9))


def test_finite_losses_pass(tmp_path):
    hook = InvalidLossHook()
    for step in range(3):
        hook.after_train_iter(runner(tmp_path, step), 0, {}, outputs(1.0))
    hook.after_train_epoch(runner(tmp_path, 3))
