import copy

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


def test_a_step_needs_no_copy_and_backward_sees_what_forward_saw():
    torch.manual_seed(0)
    queue, copied = FeatureQueue(4, 12), FeatureQueue(4, 12)
    query = torch.randn(3, 4)
    for _ in range(9):
        keys = torch.randn(5, 4)
        found, expected = (query.clone().requires_grad_() for _ in range(2))
        logits = found @ queue.features
        wanted = expected @ copied.features.clone()
        queue.enqueue(keys)
        copied.enqueue(keys)
        logits.square().sum().backward()
        wanted.square().sum().backward()
        assert torch.equal(logits, wanted)
        assert torch.equal(found.grad, expected.grad)
        assert torch.equal(queue.features, copied.features)


def test_two_tensors_take_turns():
    queue = FeatureQueue(4, 12)
    queue.enqueue(torch.randn(5, 4))
    places = set()
    for _ in range(6):
        places.add(queue.features.data_ptr())
        queue.enqueue(torch.randn(5, 4))
    assert len(places) == 2


def test_a_backward_pass_of_two_steps_ago_fails_aloud():
    queue = FeatureQueue(4, 12)
    query = torch.randn(3, 4, requires_grad=True)
    queue.enqueue(torch.randn(5, 4))
    late = (query @ queue.features).sum()
    queue.enqueue(torch.randn(5, 4))
    queue.enqueue(torch.randn(5, 4))
    with pytest.raises(RuntimeError, match='modified by an inplace'):
        late.backward()


@pytest.mark.parametrize('change', ['load', 'write', 'copy', 'double'])
def test_what_others_write_between_two_steps_is_kept(change):
    queue, other = FeatureQueue(2, 7), FeatureQueue(2, 7, seed=1)
    for number in range(4):
        queue.enqueue(torch.full((3, 2), float(number)))
    if change == 'load':
        queue.load_state_dict(other.state_dict())
    elif change == 'write':
        queue.features.copy_(other.features)
        queue.position.copy_(other.position)
    elif change == 'copy':
        queue.load_state_dict(other.state_dict())
        queue = copy.deepcopy(queue)
    else:
        queue.load_state_dict(other.state_dict())
        queue.double()
    expected = other.features.clone().to(queue.features.dtype)
    for number in range(3):
        keys = torch.full((3, 2), 10.0 + number)
        for row, key in enumerate(keys):
            expected[:, (3 * number + row) % 7] = key
        queue.enqueue(keys)
        assert torch.equal(queue.features, expected)


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
