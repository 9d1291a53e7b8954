"""The tool that takes the place of mmselfsup's analyze_logs.py."""

import json
import sys

import pytest
from PIL import Image

from ahpcl.visualization.run_log import RunLog
from commands import Command

# Two epochs of four iterations, logged every second one; validated after each.
ROWS = (
    dict(loss=4.0, time=0.9, epoch=1, iter=2, step=2),
    dict(loss=3.0, time=0.1, epoch=1, iter=4, step=4),
    {'epoch/acc_proto': 10.0, 'estep/k200/objective': 0.5, 'step': 4},
    {'knn/top1': 50.0, 'data_time': 7.0, 'time': 7.0, 'step': 1},
    dict(loss=2.0, time=0.7, epoch=2, iter=6, step=6),
    dict(loss=1.0, time=0.3, epoch=2, iter=8, step=8),
    {'knn/top1': 60.0, 'data_time': 7.0, 'time': 7.0, 'step': 2},
)


@pytest.fixture(scope='module')
def tool():
    return Command('analyze_logs')


def write(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path


@pytest.fixture
def log(tmp_path):
    return write(tmp_path / 'run' / 'vis_data' / 'scalars.json')


def test_it_takes_the_hosts_command_line(tool):
    line = 'plot_curve a.json b.json --keys loss lr --legend 1 2 3 4'
    line += ' --title t --backend agg --style ticks --out o.png'
    args = tool.parse_args(line.split())
    assert args.json_logs == ['a.json', 'b.json']
    assert (args.keys, args.legend) == (['loss', 'lr'], list('1234'))
    assert (args.title, args.backend) == ('t', 'agg')
    assert (args.style, args.out) == ('ticks', 'o.png')
    plain = tool.parse_args(['plot_curve', 'a.json'])
    assert (plain.keys, plain.style, plain.out) == (['loss'], 'dark', None)
    time = tool.parse_args(['cal_train_time', 'a', '--include-outliers'])
    assert time.include_outliers
    with pytest.raises(SystemExit):
        tool.parse_args([])


def test_scalars_of_iterations_are_plotted_over_iterations(tool, log):
    logs = [('a', RunLog(log))]
    axis, curves = tool.curves_of(logs, ['loss', 'estep/k200/objective'])
    assert axis == 'iter'
    assert [(c.log, c.key) for c in curves] == [
        ('a', 'loss'),
        ('a', 'estep/k200/objective'),
    ]
    assert list(curves[0].points) == [(2, 4.0), (4, 3.0), (6, 2.0), (8, 1.0)]
    assert list(curves[1].points) == [(4, 0.5)]


def test_a_validation_among_them_makes_it_epochs(tool, log):
    logs = [('a', RunLog(log)), ('b', RunLog(log))]
    axis, curves = tool.curves_of(logs, ['knn/top1', 'loss'])
    assert axis == 'epoch'
    assert [c.log for c in curves] == ['a', 'a', 'b', 'b']
    assert list(curves[2].points) == [(1.0, 50.0), (2.0, 60.0)]
    assert list(curves[3].points) == [(0.5, 4), (1.0, 3), (1.5, 2), (2.0, 1)]


@pytest.mark.parametrize('style', ['dark', 'whitegrid', 'ggplot'])
def test_it_writes_a_picture_without_seaborn(
    tool, log, tmp_path, style, monkeypatch
):
    monkeypatch.setitem(sys.modules, 'seaborn', None)
    out = tmp_path / 'new' / 'curve.png'
    line = ['plot_curve', str(log), str(log), '--keys', 'loss', 'knn/top1']
    tool.main([*line, '--style', style, '--out', str(out)])
    with Image.open(out) as picture:
        assert picture.size == (960, 600)
        colours = picture.convert('RGB').getcolors(1 << 20)
    assert len(colours) > 50  # not an empty page


def test_a_name_without_a_suffix_is_that_of_a_png(tool, log, tmp_path, capsys):
    tool.main(['plot_curve', str(log), '--out', str(tmp_path / 'curve')])
    with Image.open(tmp_path / 'curve.png') as picture:
        assert picture.format == 'PNG'
    said = capsys.readouterr().out
    assert f'save curve to: {tmp_path / "curve.png"}' in said


def test_legend_and_title_are_drawn(tool, log, tmp_path, monkeypatch):
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, 'svg.fonttype', 'none')
    out = tmp_path / 'curve.svg'
    tool.main(
        ['plot_curve', str(log), '--keys', 'loss', 'time', '--title', 'mine']
        + ['--legend', 'first one', 'second', '--out', str(out)]
    )
    text = out.read_text()
    assert all(word in text for word in ('mine', 'first one', 'second'))
    assert '>iter<' in text


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--keys', 'los'], "got 'los'; did you mean loss.* It has "),
        (['--keys', 'qqqq'], "got 'qqqq'; it has .*epoch/acc_proto"),
        (['--legend', 'a', 'b'], 'expected 1 texts for --legend.*got 2'),
        (['--style', 'baroque'], "got 'baroque'"),
        (['--backend', 'baroque'], 'baroque'),
        (['--backend', 'agg'], 'expected --out FILE'),
        (['--out', 'a.baroque'], 'baroque'),
        (['--out', '.'], 'expected a file for --out, got the folder'),
    ],
)
def test_what_it_refuses(tool, log, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        tool.main(['plot_curve', str(log), *arguments])


def test_what_is_no_log_is_refused(tool, tmp_path):
    with pytest.raises(SystemExit, match='does not exist'):
        tool.main(['cal_train_time', str(tmp_path / 'none.json')])
    empty = write(tmp_path / 'empty.json', ())
    with pytest.raises(SystemExit, match='expected logged scalars'):
        tool.main(['plot_curve', str(empty), '--out', 'a.png'])


def test_times(tool, log, capsys):
    tool.main(['cal_train_time', str(log), '--include-outliers'])
    said = capsys.readouterr().out
    assert 'slowest epoch 1, average time is 0.5000' in said
    assert 'fastest epoch 1, average time is 0.5000' in said
    assert 'average iter time: 0.5000 s/iter' in said
    tool.main(['cal_train_time', str(log)])
    said = capsys.readouterr().out
    assert 'slowest epoch 2, average time is 0.3000' in said
    assert 'fastest epoch 1, average time is 0.1000' in said
    assert 'time std over epochs is 0.1000' in said
    assert 'average iter time: 0.2000 s/iter' in said


def test_one_value_an_epoch_is_enough(tool, tmp_path, capsys):
    rows = [row for row in ROWS if row.get('iter') not in (2, 6)]
    log = write(tmp_path / 'run' / 'vis_data' / 'scalars.json', rows)
    tool.main(['cal_train_time', str(log.parents[1])])
    said = capsys.readouterr().out
    assert 'slowest epoch 2, average time is 0.3000' in said
    assert 'average iter time: 0.2000 s/iter' in said


def test_a_run_of_ours(tool, toy_run, tmp_path):
    out = tmp_path / 'a.png'
    keys = ['epoch/acc_proto', 'knn/top1', 'estep/k40/objective']
    tool.main(
        ['plot_curve', str(toy_run.work_dir), '--out', str(out)]
        + ['--keys', *keys]
    )
    assert out.is_file()
    axis, curves = tool.curves_of([('a', RunLog(toy_run.work_dir))], keys)
    assert axis == 'epoch'
    assert [x for x, _ in curves[1].points] == [6.0]
