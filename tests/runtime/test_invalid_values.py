from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ahpcl.runtime.invalid_values import (
    InvalidLossHook,
    explained_invalid_values,
)


def runner(work_dir, iteration):
    return SimpleNamespace(
        work_dir=str(work_dir), iter=iteration, epoch=2, hooks=[]
    )


def outputs(value):
    return dict(loss=torch.tensor(value), loss_inst=torch.tensor(value))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_stops_and_names_the_iteration(tmp_path, value):
    hook = InvalidLossHook()
    hook.after_train_iter(runner(tmp_path, 7), 0, {}, outputs(1.0))
    with pytest.raises(FloatingPointError, match='iteration 8'):
        hook.after_train_iter(runner(tmp_path, 8), 0, {}, outputs(value))


def explained(own):
    with (
        pytest.raises(FloatingPointError) as error,
        explained_invalid_values(own),
    ):
        raise FloatingPointError('features of 3 images with NaN')
    return str(error.value)


def test_the_explanation_names_the_last_good_checkpoint(tmp_path):
    Path(tmp_path, 'last_checkpoint').write_text('runs/epoch_2.pth')
    message = explained(runner(tmp_path, 8))
    assert 'got features of 3 images with NaN' in message
    assert 'runs/epoch_2.pth' in message
    assert 'learning rate' in message


def test_the_explanation_names_no_checkpoint_of_another_run(tmp_path):
    Path(tmp_path, 'last_checkpoint').write_text('runs/epoch_2.pth')
    own = runner(tmp_path, 8)
    own.hooks = [SimpleNamespace(last_good=None)]
    assert 'No checkpoint was written' in explained(own)


def test_the_explanation_says_when_there_is_no_checkpoint_yet(tmp_path):
    assert 'No checkpoint was written' in explained(runner(tmp_path, 0))


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
