"""The tool that measures a checkpoint: files, tables, refusals."""

import io
import json
import shutil

import pytest
import torch
from mmengine.config import Config

from ahpcl.cli import evaluation_tables
from ahpcl.evaluation import run_data
from commands import Command


@pytest.fixture(scope='module')
def tools():
    return {'evaluate': Command('evaluate')}


@pytest.fixture
def tool(tools):
    return tools['evaluate']


@pytest.fixture
def files(toy_run, tmp_path):
    """Config and checkpoint in a folder of our own."""
    config = Config.fromfile(toy_run.config)
    config.evaluation = dict(knn=[dict(type='KNNMetric', k=[1, 20])])
    folder = tmp_path / 'run'
    folder.mkdir()
    config.dump(folder / 'toy.py')
    shutil.copy(toy_run.checkpoint, folder)
    return [str(folder / 'toy.py'), str(folder / toy_run.checkpoint.name)]


def results_of(folder):
    """The only results in a folder."""
    (path,) = (folder / 'evaluation').iterdir()
    return json.loads(path.read_text())


def test_it_writes_what_it_prints(tool, toy_run, tmp_path, capsys):
    out = tmp_path / 'deep' / 'results.json'
    arguments = [str(toy_run.config), str(toy_run.checkpoint), '--no-cache']
    found = tool.main(
        [*arguments, '--tasks', 'knn', 'cluster', '--json', str(out)]
    )
    assert json.loads(out.read_text()) == found
    assert found['kept'] == []
    assert list(out.parent.iterdir()) == [out]
    printed = capsys.readouterr().out
    assert f'{found["metrics"]["knn/top1_k20"]:.2f}' in printed
    assert 'prototypes of the last E-step' in printed


def test_it_says_what_is_wrong(tool, toy_run, tmp_path):
    with pytest.raises(SystemExit, match='does not exist'):
        tool.main([str(toy_run.config), str(tmp_path / 'none.pth')])
    with pytest.raises(SystemExit, match='expected tasks among'):
        tool.main([str(toy_run.config), '--tasks', 'knm', '--no-cache'])
    with pytest.raises(SystemExit, match='one process'):
        tool.main([str(toy_run.config), '--launcher', 'pytorch'])


@pytest.mark.parametrize('device', ['cuda', 'cuda:99', 'abacus'])
def test_a_device_that_is_not_there_is_refused(
    tool, files, monkeypatch, device
):
    if device == 'cuda' and torch.cuda.is_available():
        pytest.skip('there is a CUDA device here')
    monkeypatch.setattr(
        run_data, 'load_model', lambda *_: pytest.fail('the model was built')
    )
    message = f'^error: expected a --device .*such as cpu, got {device}: .'
    with pytest.raises(SystemExit, match=message):
        tool.main([*files, '--device', device])


def test_results_go_beside_the_checkpoint_or_where_asked(
    tool, files, tmp_path
):
    beside, asked = tmp_path / 'run', tmp_path / 'asked'
    tool.main([*files, '--tasks', 'knn'])
    assert [p.name for p in (beside / 'features').iterdir()] == [
        'epoch_6_test.npz'
    ]
    before = sorted(beside.rglob('*'))
    found = tool.main([*files, '--tasks', 'knn', '--work-dir', str(asked)])
    assert sorted(beside.rglob('*')) == before
    assert results_of(asked) == found
    assert results_of(beside)['metrics'] == found['metrics']
    assert (asked / 'features' / 'epoch_6_test.npz').is_file()


def test_earlier_tasks_of_the_same_features_are_kept(tool, files, capsys):
    both = tool.main([*files, '--tasks', 'knn', 'cluster'])
    capsys.readouterr()
    options = ['--cfg-options', 'evaluation.knn.0.k=3']
    again = tool.main([*files, '--tasks', 'knn', *options])
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.endswith('of the same features: cluster')
    assert (again['kept'], both['kept']) == (['cluster'], [])
    assert again['prototypes'] == both['prototypes']
    assert again['seconds']['cluster'] == both['seconds']['cluster']
    # The task that ran again is replaced as a whole.
    old, new = set(both['tasks']['knn']), set(again['tasks']['knn'])
    assert old and new and not old & new
    assert set(again['metrics']) == new | set(both['tasks']['cluster'])
    for name in both['tasks']['cluster']:
        assert again['metrics'][name] == both['metrics'][name]


def test_results_of_other_weights_are_replaced(tool, files, capsys):
    tool.main([*files, '--tasks', 'cluster'])
    content = torch.load(files[1], weights_only=True)
    for value in content['state_dict'].values():
        if value.is_floating_point():
            value.mul_(1.5)
    torch.save(content, files[1])
    capsys.readouterr()
    found = tool.main([*files, '--tasks', 'knn'])
    assert 'replaced there' in capsys.readouterr().out
    assert found['kept'] == []
    assert 'prototypes' not in found
    assert all(name.startswith('knn/') for name in found['metrics'])


@pytest.mark.parametrize(
    'text', ['', '[1]', '{"digest": 3}', '{"metrics": {"knn/top1": 1.0}}']
)
def test_what_is_no_evaluation_is_replaced(tool, tmp_path, text):
    path = tmp_path / 'results.json'
    path.write_text(text)
    found = dict(
        digest='d',
        tasks={'knn': ['k']},
        seconds={'knn': 1.0},
        metrics={'k': 2.0},
    )
    earlier = tool.read_results(path)
    assert tool.with_earlier(found, earlier) == dict(found, kept=[])


def test_tasks_that_give_the_same_metric_do_not_mix(tool):
    earlier = dict(
        digest='d',
        tasks={'mine': ['k', 'b'], 'svm': ['s']},
        seconds={'features': 9.0, 'mine': 1.0, 'svm': 2.0},
        metrics={'k': 1.0, 'b': 2.0, 's': 3.0},
    )
    found = dict(
        digest='d',
        tasks={'knn': ['k']},
        seconds={'features': 0.5, 'knn': 0.1},
        metrics={'k': 5.0},
    )
    merged = tool.with_earlier(found, earlier)
    assert merged['kept'] == ['svm']
    assert merged['metrics'] == {'s': 3.0, 'k': 5.0}
    assert merged['seconds'] == {'features': 0.5, 'svm': 2.0, 'knn': 0.1}
    # Features without a digest are never known to be the same.
    unknown = dict(found, digest='')
    assert tool.with_earlier(unknown, dict(earlier, digest=''))['kept'] == []


def test_tables_break_neither_numbers_nor_paths(tools, monkeypatch):
    monkeypatch.setenv('COLUMNS', '30')
    path = (
        '/data/[red]runs/' + 'a very long name of a folder/' * 9 + 'e:8:.pth'
    )
    row = dict(
        clusters=1234567,
        truth='classes',
        nmi=0.123,
        ami=0.234,
        ari=0.345,
        hungarian=45.678,
        purity=56.789,
        pair_precision=67.891,
        silhouette=0.456,
        size_min=10001,
        size_median=20002.5,
        size_max=30003,
        empty=4004,
        phi_min=0.111,
        phi_max=0.222,
    )
    pair = dict(fine=0, coarse=1, nmi=0.5, ami=0.6, ari=0.7, nested=98.765)
    name = 'fewshot/' + 'x' * 60 + '[bold]/5way_1shot'
    results = dict(
        checkpoint=path,
        images=1000,
        queries=200,
        classes=10,
        seen_classes=0,
        metrics={name: 12.3456, f'{name}_ci95': 0.789},
        prototypes=dict(
            own=True,
            images=800,
            levels=[row, dict(row, clusters=7)],
            agreement=[pair],
        ),
    )
    out = io.StringIO()
    evaluation_tables.print_tables(results, out)
    lines = out.getvalue().splitlines()
    assert any(
        line.startswith(f'{path}: 1000 images, 200 of them tested')
        and line.endswith('none of them among the training images')
        for line in lines
    )
    cells = [line.split() for line in lines]
    assert [name, '12.35', '+-', '0.79'] in cells
    scores = '0.123 0.234 0.345 45.68 56.79 67.89 0.456'
    sizes = '10001 / 20002.5 / 30003 4004 0.111 - 0.222'
    assert f'1234567 classes {scores} {sizes}'.split() in cells
    assert ['1234567', '7', '0.500', '0.600', '0.700', '98.77'] in cells
