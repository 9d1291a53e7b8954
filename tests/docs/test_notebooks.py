"""The notebooks run as they are, only shorter."""

import importlib.util
from pathlib import Path

import pytest

import processes

NOTEBOOKS = Path(__file__).parents[2] / 'docs' / 'notebooks'
USES = ('ahpcl.api.encoder', 'ahpcl.cli.assign')


@pytest.mark.campaign
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in USES),
    reason='needs ahpcl.load and ahpcl assign',
)
def test_my_folder(tmp_path):
    text = (NOTEBOOKS / 'my_folder.py').read_text()
    assert 'dict(minutes=10)' in text
    program = tmp_path / 'my_folder.py'
    short = text.replace('dict(minutes=10)', 'dict(epochs=1)')
    program.write_text(short.replace("'gallery', 'curves'", "'curves'"))
    done = processes.run(program, folder=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    out = tmp_path / 'runs' / 'photos'
    assert (out / 'report.html').stat().st_size > 10_000
    assert (out / 'figures' / 'curves.png').is_file()
    assert list((out / 'sorted').iterdir())
    assert (out / 'encoder.safetensors').is_file()
