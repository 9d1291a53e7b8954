"""The doctor's report, its exit code, and its JSON."""

import json
import subprocess
import sys
from importlib import metadata

import pytest

from ahpcl import compat, doctor
from ahpcl.compat import packages


def test_it_says_that_training_can_run(capsys):
    assert doctor.main([]) == 0
    text = capsys.readouterr().out
    assert 'Training can run here.' in text
    assert metadata.version('torch') in text
    assert 'Not verified on a GPU' in text
    for record in compat.status():
        assert record.name in text
        if record.applied:
            assert record.symptom in text and record.upstream in text


def test_json_is_the_same_report(capsys):
    assert doctor.main(['--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['can_train'] is True and report['problems'] == []
    assert report['versions']['torch'] == metadata.version('torch')
    assert report['backends']['torch'] is None
    assert {fix['name'] for fix in report['fixes']} == {
        fix.name for fix in compat.FIXES
    }
    assert 'faiss-gpu' in report['not_verified_on_a_gpu']


def without(monkeypatch, *names):
    original = metadata.version

    def version(name):
        if name in names:
            raise metadata.PackageNotFoundError(name)
        return original(name)

    monkeypatch.setattr(doctor.metadata, 'version', version)


def test_a_missing_requirement_is_named_with_its_command(monkeypatch, capsys):
    without(monkeypatch, 'mmselfsup')
    assert doctor.main([]) == 1
    text = capsys.readouterr().out
    assert 'mmselfsup is missing: pip install' in text
    assert 'can NOT run' in text


def test_mmpretrain_stands_in_for_mmselfsup(monkeypatch, capsys):
    versions = {'mmpretrain': '1.2.0', 'mmselfsup': None, 'mmcls': None}
    original = doctor.version_of
    monkeypatch.setattr(
        doctor, 'version_of', lambda n: versions.get(n, original(n))
    )
    imported = []
    monkeypatch.setattr(
        doctor.importlib, 'import_module', lambda n: imported.append(n)
    )
    assert doctor.main([]) == 0
    assert 'mmpretrain      1.2.0' in capsys.readouterr().out
    assert 'mmpretrain.models' in imported
    assert 'mmselfsup.models' not in imported
    versions['mmselfsup'] = '1.0.0'
    assert doctor.main([]) == 1  # mmcls is missing beside mmselfsup
    assert 'mmcls is missing' in capsys.readouterr().out


def test_a_broken_import_is_a_problem(monkeypatch, capsys):
    def broken(name):
        raise RuntimeError('operator torchvision::nms does not exist')

    monkeypatch.setattr(doctor.importlib, 'import_module', broken)
    assert doctor.main([]) == 1
    assert 'torchvision::nms' in capsys.readouterr().out


def test_missing_extras_come_with_their_command(monkeypatch, capsys):
    without(
        monkeypatch,
        'matplotlib',
        'faiss-cpu',
        'faiss-gpu',
        'faiss-gpu-cu12',
        'faiss-gpu-cuvs',
    )
    assert doctor.main([]) == 0
    text = capsys.readouterr().out
    assert 'figures): pip install "ahpcl[viz]"' in text
    assert 'k-means backend): pip install "ahpcl[faiss]"' in text


def test_a_replacement_is_named(monkeypatch):
    versions = {'mmcv': '2.0.1'}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor.metadata, 'version', version)
    assert doctor.version_of('mmcv-lite') == '2.0.1 (mmcv)'
    assert doctor.version_of('torch') is None


def test_two_owners_of_mmcv_are_reported(monkeypatch, capsys):
    both = {'mmcv', 'mmcv-lite'}
    monkeypatch.setattr(packages, '_is_distributed', both.__contains__)
    assert doctor.main([]) == 0
    assert 'both installed and own the same module' in capsys.readouterr().out


@pytest.mark.gpu
def test_a_gpu_is_listed(capsys):
    import torch

    if not torch.cuda.is_available():
        pytest.skip('no CUDA device')
    doctor.main([])
    assert torch.cuda.get_device_name(0) in capsys.readouterr().out


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'ahpcl.doctor', '--json'],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)['can_train'] is True
