"""Every method with two processes on a CPU."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from toy import METHODS

WORKER = Path(__file__).with_name('methods_worker.py')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('methods')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, '-m', 'torch.distributed.run'),
        *('--nproc_per_node=2', f'--master_port={port}'),
        *(str(WORKER), str(folder), *METHODS),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=1200,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize('method', METHODS)
def test_ranks_end_with_the_same_model(folder, method):
    first, second = (
        torch.load(folder / f'{method}_{rank}.pt', weights_only=True)
        for rank in range(2)
    )
    # 320 images over two ranks in batches of 32, twice.
    assert first['iterations'] == second['iterations'] == 10
    assert first['state'].keys() == second['state'].keys()
    for name, value in first['state'].items():
        other = second['state'][name].double()
        assert torch.allclose(value.double(), other, atol=1e-6), name
    assert (folder / method / 'epoch_2.pth').is_file()
