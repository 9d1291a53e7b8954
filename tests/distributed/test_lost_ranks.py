"""A rank that does not come is named."""

from pathlib import Path

import pytest

from ahpcl.runtime.lost_ranks import LostRankDetector, is_loss
from ranks import torchrun

WORKER = Path(__file__).with_name('lost_ranks_worker.py')


@pytest.mark.campaign
def test_a_rank_that_does_not_come_is_named(tmp_path):
    torchrun(WORKER, tmp_path, ranks=3)
    for rank in range(2):
        said = (tmp_path / f'{rank}.txt').read_text()
        assert 'no sign of rank 2: dead, or slower' in said
    assert (tmp_path / '2.txt').read_text() == 'asleep'


def test_one_process_and_errors_of_its_own_lose_nobody():
    lost = RuntimeError('[gloo/transport/tcp] Connection closed by peer')
    assert LostRankDetector().words(lost) == ''
    assert is_loss(lost)
    assert not is_loss(RuntimeError('the clustering is out of order'))
    assert not is_loss(ValueError('gloo'))
