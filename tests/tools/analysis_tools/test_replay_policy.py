"""Decisions of a policy on logged accuracies."""

import csv
import json

import pytest
from mmengine.runner import Runner

from ahpcl.core import ClusterLadder, SlidingWindowPolicy
from ahpcl.visualization.run_log import RunLog
from commands import Command
from toy import toy_config


@pytest.fixture(scope='module')
def tool():
    return Command('replay_policy')


@pytest.fixture(scope='module', params=[1, 2])
def adaptive(request, tmp_path_factory):
    """A run whose decisions depend on what was measured."""
    folder = tmp_path_factory.mktemp('adaptive')
    policy = dict(type='SlidingWindowPolicy', length=1, max_epochs=3)
    config = toy_config(folder)
    config.custom_hooks[0].policy = policy
    config.custom_hooks[0].interval = request.param
    config.train_cfg.max_epochs = 9
    Runner.from_cfg(config).train()
    return folder


def write_csv(path, rows, columns=('epoch', 'acc_inst', 'acc_proto')):
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return str(path)


def test_a_run_is_replayed_decision_by_decision(tool, adaptive, capsys):
    rows = tool.main([str(adaptive)])
    assert [row['epoch'] for row in rows] == list(range(2, 10))
    assert not any(row['differs'] for row in rows)
    actions = {row['action'] for row in rows}
    assert {'keep', 'advance'} <= actions
    state = next(adaptive.glob('*/*.log')).read_text()
    for row in rows:
        assert f'epoch {row["epoch"]}: acc_inst' in state
        assert f'{row["action"]}: {row["reason"]};' in state
    # Reports read from the same lines which rungs were in use, and why.
    logged = [row for row in RunLog(adaptive).epochs if row.action]
    assert [list(row.rungs) for row in logged] == [r['rungs'] for r in rows]
    assert [row.reason for row in logged] == [r['reason'] for r in rows]
    assert 'all 8 decisions as logged' in capsys.readouterr().out


def test_another_policy_decides_otherwise(tool, adaptive, capsys, tmp_path):
    out = tmp_path / 'deep' / 'rows.json'
    policy = ['--policy', 'FixedPolicy', 'epochs=4', '--json', str(out)]
    rows = tool.main([str(adaptive), *policy])
    moves = [row['epoch'] for row in rows if row['action'] == 'advance']
    assert moves == [5, 9]
    assert json.loads(out.read_text()) == rows
    assert 'so it is a guess' in capsys.readouterr().out


def test_a_table_is_shown_to_a_ladder_of_ones_own(tool, tmp_path):
    values = [(5.0, 40.0), (6.0, 45.0), (6.1, 44.0), (9.0, 60.0), (9.0, 60.0)]
    rows = [(e + 1, *pair) for e, pair in enumerate(values)]
    path = write_csv(tmp_path / 'log.csv', rows)
    policy = ['--policy', 'SlidingWindowPolicy', 'length=2', 'threshold=0.1']
    ladder = ['--ladder', '40', '20', '10', '--window', '1']
    found = tool.main([path, *policy, *ladder])
    slow = SlidingWindowPolicy(length=2, threshold=0.1)
    own = ClusterLadder([40, 20, 10], window=1)
    for row, (epoch, inst, proto) in zip(found, rows, strict=True):
        assert tuple(row['rungs']) == own.current
        decision = slow.step(inst, proto, epoch - 1, rungs=own.current)
        assert (row['action'], row['reason']) == (
            decision.action,
            decision.reason,
        )
        if decision.action == 'advance':
            own.advance()
    assert own.position == 1  # the third epoch moved it
    assert found[2]['action'] == 'advance'


def test_bad_input_is_one_line(tool, tmp_path, adaptive):
    given = ['--policy', 'FixedPolicy', 'epochs=2', '--ladder', '9', '4']
    given += ['--window', '1']
    with pytest.raises(SystemExit, match='does not exist'):
        tool.main([str(tmp_path / 'none'), *given])
    with pytest.raises(SystemExit, match='does not exist'):
        tool.main([str(tmp_path / 'none.csv'), *given])
    path = write_csv(tmp_path / 'a.csv', [(1, 2)], ('epoch', 'acc_inst'))
    with pytest.raises(SystemExit, match='none named acc_proto'):
        tool.main([path, *given])
    path = write_csv(tmp_path / 'b.csv', [(1, 2, 'x')])
    with pytest.raises(SystemExit, match='numbers in line 2'):
        tool.main([path, *given])
    path = write_csv(tmp_path / 'c.csv', [])
    with pytest.raises(SystemExit, match='got none'):
        tool.main([path, *given])
    path = write_csv(tmp_path / 'd.csv', [(1, 2, 3)])
    with pytest.raises(SystemExit, match='give --config, or both'):
        tool.main([path, *given[:3]])
    with pytest.raises(SystemExit, match='expected a policy'):
        tool.main([str(adaptive), '--policy', 'FixedPolicy', 'epoch=2'])
    with pytest.raises(SystemExit, match='expected a policy'):
        tool.main([str(adaptive), '--policy', 'NoPolicy'])
    with pytest.raises(SystemExit, match='KEY=VALUE'):
        tool.main([str(adaptive), '--policy', 'FixedPolicy', '2'])
    with pytest.raises(SystemExit, match='expected'):
        tool.main([str(adaptive), '--ladder', '9', '9', '4'])
    with pytest.raises(SystemExit, match='commas'):
        tool.main([str(adaptive), '--ladder', '9,x'])
    path = write_csv(tmp_path / 'e.csv', [(1, 2, 3), (1, 4, 5)])
    with pytest.raises(SystemExit, match='epoch 1 again in line 3'):
        tool.main([path, *given])
    with pytest.raises(SystemExit) as caught:
        tool.main([str(adaptive), '--policy', 'type=FixedPolicy,epochs=0'])
    assert '\n' not in str(caught.value)
    with pytest.raises(SystemExit, match='which does not exist'):
        tool.main([str(adaptive), '--config', str(tmp_path / 'none.py')])


@pytest.mark.parametrize(
    'policy',
    [
        ['type=SlidingWindowPolicy,length=2,max_epochs=[(4,3),(30,2)]'],
        ['SlidingWindowPolicy', 'length=2', 'max_epochs=[(4,3),(30,2)]'],
        ['SlidingWindowPolicy,length=2,', 'max_epochs=[(4,3),(30,2)]'],
    ],
)
def test_settings_are_read_with_commas_and_blanks(tool, policy):
    found = tool.policy_settings([p.rstrip(',') for p in policy])
    assert found == dict(
        type='SlidingWindowPolicy', length=2, max_epochs=[(4, 3), (30, 2)]
    )
    assert tool.rungs_of(['200,100,50']) == [200, 100, 50]
    assert tool.rungs_of(['200', '100', '50']) == [200, 100, 50]


def test_epochs_of_the_warm_up_are_not_shown(tool, tmp_path, adaptive):
    """From a table with and without their accuracies."""
    rows = [(e, 10.0 + e, 20.0) for e in range(1, 7)]
    path = write_csv(tmp_path / 'all.csv', rows)
    config = next(adaptive.glob('*.py'))
    policy = ['--policy', 'type=FixedPolicy,epochs=2', '--config', str(config)]
    shown = tool.main([path, *policy])
    assert [row['epoch'] for row in shown] == [2, 3, 4, 5, 6]
    longer = ['--cfg-options', 'custom_hooks.0.warmup_epochs=3']
    shown = tool.main([path, *policy, *longer])
    assert [row['epoch'] for row in shown] == [4, 5, 6]
    assert [row['action'] for row in shown] == ['keep', 'advance', 'keep']
    rows[:3] = [(e, 10.0, '') for e in (1, 2, 3)]
    blank = write_csv(tmp_path / 'blank.csv', rows)
    alone = ['--policy', 'FixedPolicy', 'epochs=2', '--ladder', '9,4']
    assert [
        row['action'] for row in tool.main([blank, *alone, '--window', '1'])
    ] == ['keep', 'advance', 'keep']
    with pytest.raises(SystemExit, match='warm-up of 60'):
        tool.main([path, *policy, longer[0], longer[1].replace('3', '60')])


def test_agreement_of_the_log_reaches_the_policy(tool, adaptive, tmp_path):
    rows = [(e, 1.0, 2.0, a) for e, a in enumerate([0.2, 0.95, 0.3, 0.97], 1)]
    columns = ('epoch', 'acc_inst', 'acc_proto', 'agreement')
    path = write_csv(tmp_path / 'agree.csv', rows, columns)
    policy = ['--policy', 'type=StabilityPolicy,agreement=0.9']
    ladder = ['--ladder', '40,20,10', '--window', '1']
    shown = tool.main([path, *policy, *ladder])
    moves = [row['epoch'] for row in shown if row['action'] == 'advance']
    assert moves == [2, 4]


def test_a_ladder_that_never_moves_has_no_policy(tool, tmp_path, adaptive):
    still = tmp_path / 'still.py'
    still.write_text(
        'custom_hooks = [dict(type="AdaptiveClusterHook", policy=None, '
        'ladder=dict(rungs=[5]))]\n'
    )
    with pytest.raises(SystemExit, match='never moves'):
        tool.main([str(adaptive), '--config', str(still)])
