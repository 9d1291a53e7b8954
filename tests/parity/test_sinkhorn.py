"""Codes equal to SwAV's published ones, on one rank and on two."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmselfsup.utils import distributed_sinkhorn

from ahpcl.core import sinkhorn
from ranks import run_ranks

DATA = Path(__file__).with_name('data') / 'sinkhorn.npz'
WORKER = Path(__file__).with_name('sinkhorn_worker.py')


@pytest.fixture(scope='module')
def published():
    with np.load(DATA) as file:
        return {name: torch.from_numpy(file[name]) for name in file}


@pytest.fixture(scope='module')
def two_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sinkhorn')
    run_ranks(WORKER, folder, DATA)
    found = [torch.load(folder / f'{rank}.pt') for rank in range(2)]
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


def test_one_rank(published):
    torch.testing.assert_close(
        sinkhorn(published['scores']), published['codes_one_rank']
    )


def test_two_ranks(published, two_ranks):
    ours, _ = two_ranks
    torch.testing.assert_close(ours, published['codes_two_ranks'])
    torch.testing.assert_close(ours, published['codes_one_rank'])


def test_the_host_is_right_on_one_rank_and_wrong_on_two(published, two_ranks):
    _, host = two_ranks
    one = distributed_sinkhorn(published['scores'].clone(), 3, 1, 0.05)
    torch.testing.assert_close(one, published['codes_one_rank'])
    wrong = (host - published['codes_two_ranks']).abs().max()
    assert wrong > 0.01
