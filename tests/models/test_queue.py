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


def test_backward_sees_what_forward_saw():
    queue = FeatureQueue(4, 12)
    query = torch.randn(3, 4, requires_grad=True)
    seen = queue.features.clone()
    logits = query @ queue.features
    for _ in range(3):
        queue.enqueue(torch.randn(5, 4))
    logits.sum().backward()
    torch.testing.assert_close(query.grad, seen.sum(1).expand(3, 4))


def test_the_state_is_the_queue_after_the_step():
    queue = FeatureQueue(2, 7)
    assert set(queue.state_dict()) == {'features', 'position'}
    for number in range(3):
        queue.enqueue(torch.full((3, 2), float(number)))
    twin = FeatureQueue(2, 7)
    twin.load_state_dict(queue.state_dict())
    for either in (queue, twin):
        for number in range(4):
            either.enqueue(torch.full((2, 2), 9.0 + number))
    assert torch.equal(queue.features, twin.features)
    assert torch.equal(queue.position, twin.position)
