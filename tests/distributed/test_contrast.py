"""MoCo and SimCLR on two ranks against one process with the whole batch."""

from pathlib import Path

import pytest
import torch

from ranks import run_ranks
from small_encoders import CONTRAST, build

WORKER = Path(__file__).with_name('contrast_worker.py')


def moco():
    return build(
        'AHPCL',
        head=dict(type='HPCLHead'),
        queue_len=10,
        feat_dim=6,
        momentum=0.9,
    )


@pytest.fixture(scope='module')
def seen(tmp_path_factory):
    """What was given to both ranks, and what each of them answered."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmselfsup')
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('contrast')
    given = dict(
        views=[torch.randn(8, 3, 2, 2) for _ in range(2)],
        simclr=build('SimCLRBaseline', head=CONTRAST).state_dict(),
        moco=moco().state_dict(),
    )
    torch.save(given, folder / 'given.pt')
    run_ranks(WORKER, folder)
    ranks = [
        torch.load(folder / f'rank_{rank}.pt', weights_only=True)
        for rank in range(2)
    ]
    return given, ranks


@pytest.fixture(scope='module')
def alone(seen):
    """SimCLR's loss and gradient in one process."""
    given, _ = seen
    model = build('SimCLRBaseline', head=CONTRAST)
    model.load_state_dict(given['simclr'])
    results = model.loss(given['views'])
    results['loss_inst'].backward()
    return results, [p.grad for p in model.parameters()]


def test_simclr_steps_as_one_process_with_the_whole_batch(seen, alone):
    results, gradients = alone
    for rank in seen[1]:
        ours = rank['ours']
        assert ours['loss'] == pytest.approx(results['loss_inst'].item())
        assert ours['accuracy'] == pytest.approx(results['acc_inst'].item())
        for mine, whole in zip(ours['gradients'], gradients, strict=True):
            torch.testing.assert_close(mine, whole, atol=1e-7, rtol=1e-5)


def test_the_hosts_gradient_is_half_of_it_on_two_ranks(seen, alone):
    results, gradients = alone
    for rank in seen[1]:
        host = rank['host']
        assert host['loss'] == pytest.approx(results['loss_inst'].item())
        for theirs, whole in zip(host['gradients'], gradients, strict=True):
            assert whole.abs().max() > 1e-3
            torch.testing.assert_close(theirs, whole / 2, atol=1e-7, rtol=1e-5)


def test_moco_queues_the_keys_of_both_ranks_in_order(seen):
    given, ranks = seen
    model = moco()
    model.load_state_dict(given['moco'])
    results = model.loss(given['views'])
    for rank in ranks:
        ours = rank['moco']
        assert ours['position'] == 8
        torch.testing.assert_close(ours['queue'], model.queue.features)
    # Every rank contrasts its own share with the same queue.
    mean = sum(rank['moco']['loss'] for rank in ranks) / 2
    assert mean == pytest.approx(results['loss_inst'].item(), rel=1e-5)
    assert ranks[0]['moco']['loss'] != ranks[1]['moco']['loss']
