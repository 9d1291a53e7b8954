import torch

from ahpcl.models import shuffle_batch, unshuffle_batch


def test_undone_by_unshuffle():
    images = torch.arange(12.0).view(12, 1)
    shuffled, order = shuffle_batch(images, torch.Generator().manual_seed(1))
    assert not torch.equal(shuffled, images)
    assert torch.equal(shuffled.sort(0).values, images)
    own, everything = unshuffle_batch(shuffled * 10, order)
    assert torch.equal(own, images * 10)
    assert torch.equal(everything, images * 10)


def test_order_comes_from_the_generator_alone():
    images = torch.arange(12.0).view(12, 1)
    before = torch.get_rng_state()
    first, _ = shuffle_batch(images, torch.Generator().manual_seed(1))
    again, _ = shuffle_batch(images, torch.Generator().manual_seed(1))
    other, _ = shuffle_batch(images, torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
