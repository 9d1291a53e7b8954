"""ODC's memories with two processes on a CPU."""

import runpy
from pathlib import Path

import pytest
import torch

from ranks import run_ranks

WORKER = Path(__file__).with_name('odc_worker.py')


def run_alone():
    """The steps of all ranks in this process."""
    found = runpy.run_path(str(WORKER))
    return found['run_memory'](slice(None))


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('odc')
    run_ranks(WORKER, folder)
    return [
        torch.load(folder / f'rank_{rank}.pt', weights_only=True)
        for rank in range(2)
    ]


def test_two_ranks_keep_the_memory_that_one_process_would(ranks):
    alone = run_alone()
    assert alone['small'] > 0
    assert sum(alone['ratios']) > 0
    for seen in ranks:
        assert seen['ratios'] == alone['ratios']
        assert seen['small'] == alone['small']
        for name, value in alone['state'].items():
            assert torch.equal(seen['state'][name], value), name


def test_the_wrapper_does_not_send_the_memory_round(ranks):
    # Of rank 1: its own row of the memory, but rank 0's loss weight.
    assert ranks[0]['wrapped'].tolist() == [0.0, 0.0]
    assert ranks[1]['wrapped'].tolist() == [1.0, 0.0]
