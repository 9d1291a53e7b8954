"""What the release check would run, and how it says what came out."""

import json
import sys

import pytest
from packaging.requirements import Requirement

from tools_modules import tool_modules


@pytest.fixture(scope='module')
def tools():
    with tool_modules('release', '_plan', '_build', 'check') as loaded:
        yield loaded


REQUIREMENTS = (
    'mmcls==1.0.0rc6',
    'mmselfsup==1.0.0',
    'mmcv-lite<2.1,>=2.0.1',
    'torch>=2.4',
    'superkmeans>=0.2; platform_system == "Linux"',
    'faiss-cpu>=1.8; extra == "faiss"',
)


@pytest.fixture
def requirements(tools):
    return tools['_plan'].plain_requirements(REQUIREMENTS)


def test_every_python_meets_both_frameworks_and_one_the_lowest(tools):
    names = [row.name for row in tools['_plan'].plan(['3.9', '3.10'])]
    assert names == [
        *('3.9/mmselfsup/newest', '3.9/mmpretrain/newest'),
        *('3.10/mmselfsup/newest', '3.10/mmpretrain/newest'),
        '3.9/mmselfsup/lowest',  # 3.9 is older than 3.10
    ]


def test_the_lowest_versions_are_the_lower_bounds(tools, requirements):
    lines = tools['_plan'].lowest(requirements)
    assert lines[:4] == [
        *('mmcls==1.0.0rc6', 'mmselfsup==1.0.0', 'mmcv-lite==2.0.1'),
        'torch==2.4',
    ]
    assert lines[4].startswith('superkmeans==0.2; ') and len(lines) == 5
    for line in lines:
        Requirement(line)
    unbounded = [Requirement('numpy<3')]
    with pytest.raises(ValueError, match=r"lower bound of numpy .*'numpy<3'"):
        tools['_plan'].lowest(unbounded)


def test_mmpretrain_comes_without_mmselfsup(tools, requirements):
    plan = tools['_plan']
    calls = plan.installs(
        plan.Row('3.12', 'mmpretrain', 'newest'), 'a.whl', requirements, 'low'
    )
    assert calls[0][:2] == ['install', 'mmpretrain']
    assert not {'mmselfsup', 'mmcls'} & {
        Requirement(text).name for text in calls[0][1:]
    }
    assert calls[1] == ['install', '--no-deps', 'a.whl']
    lowest = plan.Row('3.10', 'mmselfsup', 'lowest')
    assert plan.installs(lowest, 'a.whl', requirements, 'low') == [
        ['install', '-c', 'low', 'a.whl']
    ]


def test_warnings_are_found_in_what_is_printed(tools):
    text = (
        '/x/mmcv/a.py:33: UserWarning: Fail to import ``X``\n  warn(\n'
        'the run warns of nothing\n'
        '/x/mmcv/b.py:1: UserWarning: Fail to import ``X``\n'
        '/y.py:2: DeprecationWarning: old\n'
    )
    assert tools['_plan'].warnings_in(text) == [
        'UserWarning: Fail to import ``X``',
        'DeprecationWarning: old',
    ]


def test_an_interpreter_is_found_or_the_reason_named(
    tools, tmp_path, monkeypatch
):
    find = tools['check'].find_python
    monkeypatch.setenv('PYENV_ROOT', str(tmp_path))
    monkeypatch.setenv('PATH', str(tmp_path))
    version = '{}.{}'.format(*sys.version_info)
    path, why = find(version)
    assert path is None and why.startswith(f'no python{version} on the PATH')
    link = tmp_path / 'versions' / f'{version}.0' / 'bin' / 'python'
    link.parent.mkdir(parents=True)
    link.symlink_to(sys.executable)
    assert find(version) == (str(link), '')
    shim = tmp_path / 'python3.99'  # as pyenv's, of a version not selected
    shim.write_text('#!/bin/sh\nexit 127\n')
    shim.chmod(0o755)
    assert find('3.99') == (None, f'{shim} does not run')


def test_a_failing_step_is_said_in_its_last_lines(tools, tmp_path):
    steps = tools['check'].Steps(tmp_path)
    steps.run('fine', sys.executable, '-c', 'print("SomeWarning: not seen")')
    assert not steps.warnings and steps.seconds['fine'] >= 0
    program = (
        'print("ERROR: no torch==2.4"); print("hint"); raise SystemExit(1)'
    )
    with pytest.raises(RuntimeError, match=r'^install failed: ERROR: no tor'):
        steps.run('install', sys.executable, '-c', program)
    program = 'import warnings; warnings.warn("seen")'
    steps.run('doctor', sys.executable, '-c', program, watch=True)
    assert steps.warnings == ['UserWarning: seen']


def row(python, result, **seconds):
    return dict(
        python=python,
        commit='a' * 40,
        framework='mmselfsup',
        versions='newest',
        result=result,
        seconds=seconds,
        found=dict(torch='2.14.1'),
        notes=[] if result == 'pass' else ['train failed: no'],
    )


def report(*rows, version='0.2.0'):
    return dict(
        version=version,
        date='2026-11-29',
        machine='Linux',
        skipped={'3.13': 'no python3.13'},
        rows=list(rows),
    )


def test_a_row_that_is_run_again_replaces_its_own(tools, tmp_path):
    save = tools['check'].save
    path = tmp_path / 'tested.json'
    save(report(row('3.10', 'FAIL', install=90.4)), path)
    save(report(row('3.9', 'pass', install=1)), path)
    save(report(row('3.10', 'pass', install=80.6, train=9)), path)
    rows = json.loads(path.read_text())['rows']
    assert [(r['python'], r['result']) for r in rows] == [
        ('3.9', 'pass'),
        ('3.10', 'pass'),
    ]
    page = path.with_suffix('.md').read_text()
    assert '| 3.10 | mmselfsup | newest | 2.14.1 | pass | 81 | - |' in page
    assert page.index('| 3.9 |') < page.index('| 3.10 |')
    assert 'Python 3.13 was skipped: no python3.13' in page
    assert '- 3.12, mmpretrain, newest: **not run**' in page
    assert '3.13, mmselfsup' not in page
    save(report(row('3.11', 'FAIL'), version='0.3.0'), path)
    assert len(json.loads(path.read_text())['rows']) == 1
    page = path.with_suffix('.md').read_text()
    assert '3.11, mmselfsup, newest: train failed: no' in page


def test_the_page_is_what_the_json_says(tools):
    path = tools['check'].RESULTS
    saved = json.loads(path.read_text())
    page = path.with_suffix('.md').read_text()
    assert page == tools['_plan'].render(saved)
