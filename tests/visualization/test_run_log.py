"""Reading the logs of a run, whole and in parts."""

import json

import pytest
import torch

from ahpcl.visualization.run_log import RunLog


def write(folder, rows, text=()):
    (folder / 'vis_data').mkdir(parents=True)
    lines = [json.dumps(row) for row in rows]
    (folder / 'vis_data' / 'scalars.json').write_text('\n'.join(lines) + '\n')
    (folder / f'{folder.name}.log').write_text('\n'.join(text))
    return folder


def epoch_rows(epoch, per_epoch=10, loss=1.0, acc=50.0, rungs=20):
    """Log lines of an epoch with an E-step, as a run writes them."""
    start, end = (epoch - 1) * per_epoch, epoch * per_epoch
    middle = start + per_epoch // 2
    train = dict(time=0.1, data_time=0.0, epoch=epoch)
    return [
        {f'estep/k{rungs}/objective': 0.1 * epoch, 'step': start},
        dict(train, loss=loss + 1, iter=middle, step=middle),
        dict(train, loss=loss, iter=end, step=end),
        {
            'epoch/acc_inst': acc,
            'epoch/acc_proto': acc / 2,
            'ladder/newest': rungs,
            'policy/action': 0,
            'step': end,
        },
        {'knn/top1': 80.0 + epoch, 'time': 0.3, 'data_time': 0.1}
        | {'step': epoch},
    ]


def test_every_epoch_has_its_row(tmp_path):
    text = [
        'x - INFO - epoch 1: acc_inst 50.00, acc_proto 25.00 at K = 40, 20; '
        'keep: 0 of 3 epochs to compare with; 1.0 s, E-step 20 %'
    ]
    rows = [*epoch_rows(1), *epoch_rows(2, loss=0.5, acc=60.0)]
    log = RunLog(write(tmp_path / 'part', rows, text).parent)
    first, second = log.epochs
    assert (first.epoch, first.step) == (1, 10)
    assert first.action == 'keep'
    assert first.reason == '0 of 3 epochs to compare with'
    assert first.rungs == (40, 20)
    assert first.values['estep/k20/objective'] == pytest.approx(0.1)
    assert second.values['estep/k20/objective'] == pytest.approx(0.2)
    assert second.values['epoch/acc_inst'] == 60.0
    assert second.rungs == (20,)  # the text log says nothing of it
    assert log.series('loss') == [(0.5, 2), (1, 1), (1.5, 1.5), (2, 0.5)]
    assert log.series('knn/top1') == [(1, 81), (2, 82)]
    # Not mixed with the seconds of the validation.
    assert [value for _, value in log.scalars['time']] == [0.1] * 4
    assert log.series('never') == []


def test_a_resumed_part_replaces_what_was_logged_after_it(tmp_path):
    first = [row for e in (1, 2, 3) for row in epoch_rows(e, loss=1.0)]
    second = [row for e in (3, 4) for row in epoch_rows(e, loss=7.0)]
    write(tmp_path / '20260101_000000', first)
    write(tmp_path / '20260101_000100', second)
    log = RunLog(tmp_path)
    assert [row.epoch for row in log.epochs] == [1, 2, 3, 4]
    assert [v for _, v in log.scalars['loss']] == [2, 1, 2, 1, 8, 7, 8, 7]
    assert log.series('knn/top1') == [(e, 80 + e) for e in (1, 2, 3, 4)]
    assert log.epochs[1].values['epoch/acc_inst'] == 50.0


def test_a_run_that_began_again_forgets_the_longer_one(tmp_path):
    write(tmp_path / '1', [r for e in (1, 2, 3) for r in epoch_rows(e)])
    write(tmp_path / '2', epoch_rows(1, loss=5.0))
    log = RunLog(tmp_path)
    assert [row.epoch for row in log.epochs] == [1]
    assert log.scalars['loss'] == [(5, 6.0), (10, 5.0)]
    assert log.series('knn/top1') == [(1, 81)]


def test_an_unfinished_line_is_left_out(tmp_path):
    folder = write(tmp_path / 'part', epoch_rows(1))
    with (folder / 'vis_data' / 'scalars.json').open('a') as file:
        file.write('{"loss": 3, "st')
    assert len(RunLog(folder).scalars['loss']) == 2


def test_what_is_no_log_is_refused(tmp_path):
    with pytest.raises(ValueError, match='does not exist'):
        RunLog(tmp_path / 'none')
    with pytest.raises(ValueError, match='LocalVisBackend'):
        RunLog(tmp_path)
    empty = tmp_path / 'scalars.json'
    empty.write_text('nothing\n')
    with pytest.raises(ValueError, match='first log line'):
        RunLog(empty)


def test_a_real_run_tells_its_decisions(toy_run):
    log = RunLog(toy_run.work_dir)
    assert [row.epoch for row in log.epochs] == [1, 2, 3, 4, 5, 6]
    # One epoch of warm-up, then two per rung.
    assert [row.action for row in log.epochs] == [
        None, 'keep', 'advance', 'keep', 'advance', 'keep',
    ]  # fmt: skip
    assert [row.rungs for row in log.epochs[1:]] == [
        (40, 20), (40, 20), (20, 10), (20, 10), (10, 5),
    ]  # fmt: skip
    assert all(row.reason for row in log.epochs[1:])
    state = torch.load(toy_run.checkpoint, weights_only=True)
    rungs = [
        len(level['centroids'])
        for level in state['ahpcl']['hierarchy']['levels']
    ]
    assert tuple(rungs) == log.epochs[-1].rungs
