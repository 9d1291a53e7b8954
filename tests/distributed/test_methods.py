"""Every method with two processes on a CPU."""

from pathlib import Path

import pytest
import torch

from ranks import run_ranks
from toy import METHODS

WORKER = Path(__file__).with_name('methods_worker.py')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('methods')
    run_ranks(WORKER, folder, *METHODS)
    return folder


@pytest.mark.campaign
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
