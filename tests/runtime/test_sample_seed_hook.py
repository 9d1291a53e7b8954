"""Steps draw by (seed, iteration, rank)."""

from types import SimpleNamespace

import torch

from ahpcl.core import seed_from
from ahpcl.runtime import SampleSeedHook


def drawn(seed, iteration):
    SampleSeedHook().before_train_iter(
        SimpleNamespace(seed=seed, iter=iteration), batch_idx=0
    )
    return torch.rand(3)


def test_a_step_draws_by_seed_and_iteration():
    first = drawn(1, 5)
    torch.rand(10)
    assert torch.equal(drawn(1, 5), first)
    assert not torch.equal(drawn(1, 6), first)
    assert not torch.equal(drawn(2, 5), first)


def test_the_address_is_the_one_promised():
    expected = torch.Generator().manual_seed(seed_from(3, 'step', 9, 0))
    assert torch.equal(drawn(3, 9), torch.rand(3, generator=expected))
