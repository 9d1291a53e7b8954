"""The check of a GPU: its arithmetic, its budgets, and every part on a CPU."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tools_modules import tool_modules
from toy import CONFIGS

BENCHMARKS = Path(__file__).parents[3] / 'tools' / 'benchmarks'
NAMES = (
    *('_provenance', '_tables', '_part', '_floor', '_clustering', '_measure'),
    *('throughput', '_gpu_clustering', '_gpu_step', '_gpu_methods'),
    *('gpu_check', 'estep', 'scaling', 'scale', '_goals', 'tables'),
)


@pytest.fixture(scope='module')
def tools():
    with tool_modules('benchmarks', *NAMES) as loaded:
        yield loaded


def part(tools, tmp_path, code, budget=60.0):
    return tools['_part'].run_part(
        ['-c', code], tmp_path / 'out' / 'part.json', budget
    )


def runs(process):
    """Whether a process is there, and not only for its parent to see."""
    try:
        status = Path(f'/proc/{process}/status').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return 'Z (' not in status


# ---- a part and its budget -----------------------------------------------


def test_a_part_that_fails_says_why(tools, tmp_path):
    found = part(tools, tmp_path, 'raise SystemExit("no such thing")')
    assert found['status'] == 'failed'
    assert 'no such thing' in found['error']
    assert json.loads((tmp_path / 'out' / 'part.json').read_text()) == found
    assert {'commit', 'changed'} == set(found['source'])


def test_a_part_is_killed_with_all_that_it_started(tools, tmp_path):
    code = f"""
import json, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])
pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))
file = pathlib.Path({str(tmp_path / 'out' / 'part.json')!r})
file.parent.mkdir()
file.write_text(json.dumps(dict(problems=[], rows=[dict(name='one')])))
time.sleep(99)
"""
    begin = time.monotonic()
    found = part(tools, tmp_path, code, budget=3.0)
    assert time.monotonic() - begin < 20
    assert found['status'] == 'overrun'
    assert found['budget'] == 3.0 <= found['seconds']
    assert found['rows'] == [dict(name='one')]  # what it knew is kept
    child = int((tmp_path / 'pid').read_text())
    for _ in range(50):
        if not runs(child):
            return
        time.sleep(0.1)
    raise AssertionError('the child of the part is still there')


def test_a_row_that_fails_is_a_problem_and_others_follow(tools, tmp_path):
    record = tools['_part'].Record(
        tmp_path / 'part.json', torch.device('cpu'), {}
    )
    with record.row('one', clusters=5) as row:
        row['seconds'] = 1.0
        raise ZeroDivisionError('of nothing')
    with record.row('two') as row:
        row['seconds'] = 2.0
    kept = json.loads((tmp_path / 'part.json').read_text())
    one, two = kept['rows']
    assert one['error'] == 'ZeroDivisionError: of nothing'
    assert (one['clusters'], one['seconds']) == (5, 1.0)
    assert 'error' not in two
    assert kept['problems'] == ['one: ZeroDivisionError: of nothing']
    assert {'torch', 'device', 'libraries'} <= set(kept['machine'])


@pytest.mark.campaign
def test_a_problem_fails_the_part_and_others_run(tools, tmp_path, capfd):
    status = tools['gpu_check'].main(
        [
            *('--small', '--minutes', '5', '--parts', 'step', 'tests'),
            *('--data', str(tmp_path / 'missing'), '--out', str(tmp_path)),
        ]
    )
    assert status == 1
    step = json.loads((tmp_path / 'step.json').read_text())
    assert step['status'] == 'failed'
    assert all('missing' in row['error'] for row in step['rows'])
    tests = json.loads((tmp_path / 'tests.json').read_text())
    assert tests['status'] == 'ok'
    assert tests['counts']['failed'] == 0
    assert sum(tests['counts'].values()) == len(tests['rows']) > 10
    if not torch.cuda.is_available():
        assert {row['outcome'] for row in tests['rows']} == {'skipped'}
        assert all('CUDA' in row['reason'] for row in tests['rows'])
    # What the first left went to the second.
    assert tests['budget'] == pytest.approx(300 - step['seconds'], abs=1)
    assert 'tests: ok' in capfd.readouterr().out


def test_without_a_gpu_only_small_sizes_run(tools, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit, match='add --small'):
        tools['gpu_check'].main(['--out', str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_small_sizes_never_overwrite_what_was_measured(tools):
    parse, pages = tools['gpu_check'].parse_args, tools['gpu_check'].PAGES
    assert parse([]).out == pages
    assert pages not in (
        parse(['--small']).out,
        *parse(['--small']).out.parents,
    )


# ---- clustering ----------------------------------------------------------


def test_clustering_is_measured_against_the_recipe(tools, tmp_path):
    out = tmp_path / 'gpu_check' / 'clustering.json'
    tools['_gpu_clustering'].main(['--small', '--json', str(out)])
    content = json.loads(out.read_text())
    assert content['problems'] == []
    names = [(row['clusters'], row['name']) for row in content['rows']]
    assert names == [
        (k, name) for k in (40, 80) for name in ('recipe', 'torch', 'flash')
    ]
    for recipe, ours, flash in zip(*[iter(content['rows'])] * 3, strict=True):
        assert recipe['extrapolated']
        assert recipe['iterations_counted'] == 100
        assert ours['ratio'] == pytest.approx(
            recipe['seconds'] / ours['seconds']
        )
        assert ours['rate'] == pytest.approx(
            2 * 3000 * 16 * ours['clusters'] / ours['search_seconds']
        )
        assert ours['rate_share'] == pytest.approx(
            ours['rate'] / content['rates']['bfloat16']
        )
        if not torch.cuda.is_available():
            assert ours['agreement'] == 100  # float32 is the exact search
            assert flash['unavailable'] == content['flash']
    # The page shows it, but not as a measurement of small sizes.
    block = tools['tables'].block
    assert 'Not measured' in block(tmp_path, 'gpu_check/clustering')
    content['settings']['small'] = False
    out.write_text(json.dumps(content))
    page = block(tmp_path, 'gpu_check/clustering')
    assert '3,000 x 16 points' in page
    assert (
        f'| 80 | torch | {content["rows"][4]["search_seconds"]:.3f} |' in page
    )


def test_the_recipe_is_multiplied_from_what_was_timed(tools, monkeypatch):
    module = tools['_gpu_clustering']
    costs = iter([9.0, 2.0, 6.0])  # a warm-up, a search, two iterations
    cost = tools['_clustering'].Cost
    monkeypatch.setattr(
        module,
        'measured',
        lambda work, device: (work(), cost(next(costs), 0.0, 0.0)),
    )
    row = {}
    points = torch.randn(50, 4)
    module.recipe(row, points, points[:5])
    # Five starts of 20 iterations, each with a last search.
    assert row['seconds'] == 100 * 3.0 + 5 * 2.0


@pytest.mark.parametrize(
    ('torch_seconds', 'flash_row', 'verdict'),
    [
        ((2.0, 4.0), (1.0, 3.0), 'faster'),
        ((2.0, 4.0), (1.0, 5.0), 'not faster'),
        ((2.0, 4.0), 'it needs a CUDA device', 'it needs a CUDA device'),
    ],
)
def test_flash_must_be_faster_everywhere(
    tools, torch_seconds, flash_row, verdict
):
    rows = []
    for place, k in enumerate((25, 50)):
        flash = (
            dict(unavailable=flash_row)
            if isinstance(flash_row, str)
            else dict(seconds=flash_row[place])
        )
        rows += [
            dict(name='recipe', clusters=k, seconds=100.0),
            dict(name='torch', clusters=k, seconds=torch_seconds[place]),
            dict(name='flash', clusters=k, **flash),
        ]
    assert tools['_gpu_clustering'].verdict(rows) == verdict
    rows[-1] = dict(name='flash', clusters=50, error='RuntimeError: no')
    assert tools['_gpu_clustering'].verdict(rows[-1:]) == (
        'failed: RuntimeError: no'
    )


# ---- the step ------------------------------------------------------------


def test_rendered_images_are_a_folder_of_classes(tools, tmp_path):
    from ahpcl.datasets import MiniImageNet

    tools['_gpu_step'].render_images(tmp_path, 130, 24, workers=2)
    found = MiniImageNet(str(tmp_path), split='train')
    assert len(found) == 130
    assert len(found.metainfo['classes']) == 64
    from ahpcl.datasets.decode import read_rgb

    pictures = [read_rgb(found.get_data_info(i)['img_path']) for i in range(4)]
    assert {picture.shape for picture in pictures} == {(24, 24, 3)}
    assert len({picture.tobytes() for picture in pictures}) == 4


@pytest.mark.slow
def test_the_step_is_measured_in_small(tools, tmp_path, monkeypatch):
    monkeypatch.setenv('AHPCL_CACHE', 'as before')
    out = tmp_path / 'gpu_check' / 'step.json'
    tools['_gpu_step'].main(['--small', '--json', str(out)])
    content = json.loads(out.read_text())
    assert content['problems'] == []
    rendering, host, *ours = content['rows']
    assert rendering['name'] == 'rendering'
    assert host['name'] == 'mmselfsup'
    assert host['ratio'] == 1.0
    assert len(ours) == 2
    for row in ours:
        assert row['decoded']
        assert row['ratio'] == pytest.approx(row['rate'] / host['rate'])
        assert 0 <= row['waiting'] <= 100
        for share in row['estep_share'].values():
            assert 0 < share['clustering'] <= share['share'] < 100
    content['settings']['small'] = False
    out.write_text(json.dumps(content))
    page = tools['tables'].block(tmp_path, 'gpu_check/step')
    assert f'| mmselfsup | {host["rate"]:.0f} | 1.00 |' in page


# ---- the methods ---------------------------------------------------------


def test_no_baseline_is_left_out(tools):
    names = {path.stem for path in (CONFIGS / 'baselines').glob('*.py')}
    methods = {name for name in names if '_' not in name}
    assert set(tools['_gpu_methods'].METHODS) == {'ahpcl', *methods}


def test_what_falls_is_judged_by_means(tools):
    judge = tools['_gpu_methods'].judge
    # Two iterations with an empty queue, then epochs of 4: 8 -> 5.
    losses = [1.0, 1.0, 8, 8, 8, 8, 7, 7, 6, 6, 5, 5, 5, 5]
    found = judge(losses, 4, 'over epochs', skip=2)
    assert found == dict(finite=True, falls=True, first=8.0, last=5.0)
    assert not judge(losses, 4, 'over epochs')['falls']
    inside = 'within the last epoch'
    found = judge([1.0] * 4 + [4.0, 3, 3, 2], 4, inside)
    assert found == dict(finite=True, falls=True, first=4.0, last=2.0)
    bad = judge([3.0, float('nan'), 2.0, 1.0], 2, 'over epochs')
    assert not bad['finite']
    with pytest.raises(RuntimeError, match='then 5'):
        tools['_gpu_methods'].refuse(
            dict(judge([3.0, 5.0], 1, 'over epochs'), loss='loss', where='')
        )


def test_a_process_that_dies_is_an_answer(tools, tmp_path):
    file = tmp_path / 'one.json'
    code = f'open({str(file)!r}, "w").write("{{}}"); raise SystemExit(3)'
    running = [subprocess.Popen([sys.executable, '-c', code])]
    files = dict(one=file, two=tmp_path / 'two.json')
    found = dict(tools['_gpu_methods'].wait_for_answers(running, files))
    assert found['one'] == {}
    assert '3' in found['two']['error']


@pytest.mark.campaign
def test_every_method_trains_in_small(tools, tmp_path):
    out = tmp_path / 'gpu_check' / 'methods.json'
    tools['_gpu_methods'].main(['--small', '--json', str(out)])
    content = json.loads(out.read_text())
    assert content['problems'] == []
    rows = {row['name']: row for row in content['rows']}
    assert set(rows) == set(tools['_gpu_methods'].METHODS)
    for row in rows.values():
        assert row['finite']
        assert row['falls'] is None or row['last'] < row['first']
    content['settings']['small'] = False
    out.write_text(json.dumps(content))
    page = tools['tables'].block(tmp_path, 'gpu_check/methods')
    assert '| deepcluster | loss | within the last epoch |' in page
    assert os.environ.get('AHPCL_SCALE') is None
