"""No file runs as a program unless the user says so."""

import ast
import socket
from pathlib import Path

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

import ahpcl  # noqa: F401
from toy import toy_config, train

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ('projects', 'tools')
    for path in (ROOT / folder).rglob('*.py')
    if '.mim' not in path.parts
)
#: Calls that run what a file holds, and what makes them safe.
SAFE = {
    'torch.load': ('weights_only', True),
    'np.load': ('allow_pickle', False),
    'numpy.load': ('allow_pickle', False),
}
NEVER = {
    *('eval', 'exec', 'pickle.load', 'pickle.loads', 'yaml.load'),
    *('os.system', 'marshal.loads', 'marshal.load', 'joblib.load'),
    *('torch.hub.load', 'urllib.request.urlopen', 'np.lib.format.open_memmap'),
    *('tarfile.extractall', 'pd.read_pickle', 'Config.fromstring'),
}


def offences(text):
    """Calls in a source that may run what a file holds."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {
            word.arg: getattr(word.value, 'value', None)
            for word in node.keywords
        }
        if name in SAFE and given.get(SAFE[name][0]) is not SAFE[name][1]:
            yield f'line {node.lineno}: {name}'
        if name in NEVER or name.endswith('.extractall'):
            yield f'line {node.lineno}: {name}'
        if given.get('shell') is True:
            yield f'line {node.lineno}: {name} in a shell'


@pytest.mark.parametrize(
    'text',
    [
        'torch.load(path)',
        'np.load(path, allow_pickle=True)',
        'pickle.load(file)',
        'archive.extractall(path)',
        'run(command, shell=True)',
    ],
)
def test_an_offence_is_seen(text):
    assert list(offences(text))


def test_no_source_runs_what_a_file_holds():
    found = {
        str(path.relative_to(ROOT)): bad
        for path in SOURCES
        if (bad := list(offences(path.read_text('utf-8'))))
    }
    assert len(SOURCES) > 200
    assert not found


def test_a_config_in_a_checkpoint_is_not_run(tmp_path):
    canary = tmp_path / 'executed'
    path = tmp_path / 'epoch_1.pth'
    config = f"open({str(canary)!r}, 'w').close()\n"
    torch.save(dict(meta=dict(config=config, epoch=1), state_dict={}), path)
    content = CheckpointLoader.load_checkpoint(str(path), 'cpu')
    assert content['meta'] == dict(epoch=1)
    assert not canary.exists()


def test_training_asks_no_network(tmp_path, monkeypatch):
    asked = []

    def connect(self, address):
        asked.append(address)
        raise OSError('no network')

    monkeypatch.setattr(socket.socket, 'connect', connect)
    monkeypatch.setattr(
        socket, 'getaddrinfo', lambda *a, **k: asked.append(a) or []
    )
    config = toy_config(tmp_path)
    config.train_cfg.update(max_epochs=2, val_interval=2)
    train(config)
    assert not asked
