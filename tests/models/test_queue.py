import pytest
import torch

from ahpcl.models import FeatureQueue


@pytest.mark.parametrize('length', [1, 5, 12, 16, 37])
@pytest.mark.parametrize('batches', [[5, 5, 5, 5], [16, 1, 7], [40, 3]])
def test_holds_the_newest_keys_for_any_batch(length, batches):
    queue = FeatureQueue(2, length)
    start = queue.features.clone()
    ring, position, value = start.clone(), 0, 0
    for batch in batches:
        keys = torch.arange(value, value + batch).float().repeat(2, 1).t()
        for key in keys:  # one after the other
            ring[:, position] = key
            position = (position + 1) % length
        value += batch
        queue.enqueue(keys)
    assert torch.equal(queue.features, ring)
    assert int(queue.position) == position
    assert len(queue) == length


def test_starts_with_unit_columns_and_leaves_the_global_seed():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    queue = FeatureQueue(8, 100)
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(queue.features.norm(dim=0), torch.ones(100))


def test_rejects_an_empty_queue():
    with pytest.raises(ValueError, match='queue_len=0'):
        FeatureQueue(8, 0)
