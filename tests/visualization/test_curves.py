"""Curves of a log that is written here, number by number."""

import json

import numpy as np
import pytest

from ahpcl.visualization.curves import curves_figure, label_rows
from ahpcl.visualization.log_panels import Stay, panels, stays
from ahpcl.visualization.run_log import EpochRow, RunLog, rungs_in_use
from figure_text import assert_readable, texts

RUNGS = {1: (), 2: (40, 20), 3: (40, 20), 4: (20, 10), 5: (20, 10)}
ACTIONS = {2: 1, 3: 2, 4: 0, 5: 2}  # raise, advance, keep, advance at the end
NAMES = ('keep', 'raise_threshold', 'advance')


def write_log(folder, text=True):
    rows, lines = [], []
    for epoch, rungs in RUNGS.items():
        start, end = 10 * (epoch - 1), 10 * epoch
        rows.append(
            {f'estep/k{k}/objective': k * epoch / 100 for k in rungs}
            | {'step': start}
        )
        rows.append(
            {'loss': 9 - epoch, 'loss_inst': 5, 'epoch': epoch, 'iter': end}
            | {f'acc_proto_k{k}': epoch + k for k in rungs}
            | {'step': end, 'time': 0.1}
        )
        ours = {'epoch/acc_inst': 2.0 * epoch, 'step': end}
        if rungs:
            ours |= {'epoch/acc_proto': 3.0 * epoch}
            ours |= {'ladder/newest': rungs[-1]}
            ours |= {'policy/action': ACTIONS[epoch]}
            lines.append(
                f'INFO - epoch {epoch}: acc_inst 1.00, acc_proto 2.00 at '
                f'K = {", ".join(map(str, rungs))}; '
                f'{NAMES[ACTIONS[epoch]]}: for a reason; 1.0 s, E-step 5 %'
            )
        rows.append(ours)
        rows.append({'knn/top1': 50.0 + epoch, 'time': 1.0, 'step': epoch})
    part = folder / 'part'
    (part / 'vis_data').mkdir(parents=True)
    file = part / 'vis_data' / 'scalars.json'
    file.write_text('\n'.join(map(json.dumps, rows)) + '\n')
    if text:
        (part / 'part.log').write_text('\n'.join(lines) + '\n')
    return folder


@pytest.fixture
def log(tmp_path):
    return RunLog(write_log(tmp_path))


def test_advances_are_where_the_rungs_change(log):
    # The last advance found nothing left: the rungs stayed, so it is none.
    assert stays(log.epochs) == [Stay(1, 3, (40, 20)), Stay(3, 5, (20, 10))]


def test_rungs_follow_from_the_e_steps_without_a_text_log(tmp_path):
    log = RunLog(write_log(tmp_path, text=False))
    assert stays(log.epochs) == [Stay(1, 3, (40, 20)), Stay(3, 5, (20, 10))]


def test_an_ascending_ladder_ends_with_its_largest():
    values = {'estep/k5/objective': 1.0, 'estep/k20/objective': 1.0}
    newest = {'ladder/newest': 20.0}
    rows = [
        EpochRow(1, 10, values, rungs=rungs_in_use(values | newest)),
        EpochRow(2, 20, rungs=rungs_in_use(newest)),
    ]
    assert stays(rows) == [Stay(0, 2, (5, 20))]


def test_lines_and_marks_are_at_the_right_epochs(log):
    figure = curves_figure(log, source='run')
    ladder, *others = figure.axes
    for axes in others:
        dashed = [
            line.get_xdata()[0]
            for line in axes.lines
            if line.get_linestyle() == '--'
        ]
        assert dashed == [3]
    (raised,) = [line for line in ladder.lines if line.get_marker() == '^']
    assert list(raised.get_xdata()) == [2]
    labels = {
        text.get_text(): text.xy[0]
        for text in ladder.texts
        if ',' in text.get_text()
    }
    assert labels == {'40, 20': 1, '20, 10': 3}
    assert 'triangles: the policy raises its threshold' in ' '.join(
        text.get_text().replace('\n', ' ') for text in figure.texts
    )


def test_values_are_those_that_were_logged(log):
    by_title = {panel.title: panel for panel in panels(log)}
    assert list(by_title) == [
        'loss',
        'top-1, means of epochs',
        'acc_proto by K',
        'validation',
        'E-step: objective by K',
    ]
    assert list(by_title['acc_proto by K'].names) == ['40', '20', '10']
    figure = curves_figure(log)
    drawn = {
        axes.get_title(loc='left'): {
            line.get_label(): np.array(line.get_xydata()).tolist()
            for line in axes.lines
            if not line.get_label().startswith('_')
        }
        for axes in figure.axes
    }
    assert drawn['loss']['loss'] == [[e, 9 - e] for e in range(1, 6)]
    assert drawn['acc_proto by K']['K = 20'] == [
        [epoch, epoch + 20] for epoch in (2, 3, 4, 5)
    ]
    assert drawn['acc_proto by K']['K = 40'] == [[2, 42], [3, 43]]
    assert drawn['validation']['knn/top1'] == [
        [epoch, 50 + epoch] for epoch in range(1, 6)
    ]
    # An E-step is before its epoch.
    assert drawn['E-step: objective by K']['K = 10'] == pytest.approx(
        np.array([[3, 0.4], [4, 0.5]])
    )


def test_curves_can_be_read(log):
    assert_readable(curves_figure(log, source='work_dirs/run'))


def test_labels_do_not_touch():
    periods = [Stay(n, n + 1, (3200, 2400, 1600)) for n in range(12)]
    rows = label_rows(periods, 0.3)
    width = 0.062 * len('3200, 2400, 1600')
    for row in range(3):
        starts = [0.3 * n for n, own in enumerate(rows) if own == row]
        assert all(np.diff(starts) > width)
    assert -1 in rows
    assert label_rows(periods[:3], 2.0) == [0, 0, 0]


def test_a_run_without_ladder_has_curves_alone(tmp_path):
    part = tmp_path / 'vis_data'
    part.mkdir()
    rows = [
        dict(loss=3.0 - e, acc_inst=e, epoch=e, iter=e, step=e, time=0.1)
        for e in (1, 2)
    ]
    (part / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)))
    figure = curves_figure(RunLog(tmp_path))
    titles = [axes.get_title(loc='left') for axes in figure.axes]
    assert titles == ['loss', 'top-1']
    assert '2 epochs' in ' '.join(text.get_text() for text in texts(figure))
