"""Two processes on a CPU."""

from pathlib import Path

import pytest
import torch

from ranks import run_ranks

WORKER = Path(__file__).with_name('gloo_worker.py')


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('gloo')
    run_ranks(WORKER, folder)
    return [torch.load(folder / f'rank_{r}.pt') for r in range(2)]


def test_rows_of_uneven_ranks_are_gathered(ranks):
    for seen in ranks:
        indices, rows = seen['gathered']
        assert indices.tolist() == [0, 2, 4, 6, 1, 3, 5]
        assert torch.equal(rows.flatten(), indices.float())


def test_keys_are_shuffled_over_the_ranks_and_come_back(ranks):
    union = torch.cat([seen['shuffled'] for seen in ranks]).flatten()
    assert sorted(union.tolist()) == [0, 1, 2, 3, 10, 11, 12, 13]
    assert {v >= 10 for v in ranks[0]['shuffled'].flatten().tolist()} == {
        True,
        False,
    }
    assert all(seen['own'] for seen in ranks)
    for seen in ranks:
        assert seen['everything'].flatten().tolist() == [
            *(0, 1, 2, 3),
            *(10, 11, 12, 13),
        ]


def test_signals_are_averaged_over_all_images(ranks):
    for seen in ranks:
        expected = (10.0 * 10 + 11.0 * 30) / 40
        assert seen['means']['acc_inst'] == pytest.approx(expected)
        assert torch.equal(seen['norm'], torch.tensor([0.5, 0.5]))


def test_ranks_end_with_the_same_model_and_prototypes(ranks):
    first, second = ranks
    assert first['backend'] == 'gloo'
    assert first['rungs'] == second['rungs'] == (20, 10)
    for name, value in first['state'].items():
        same = torch.allclose(
            value.double(), second['state'][name].double(), atol=1e-6
        )
        assert same, name
    for one, other in zip(
        first['hierarchy']['levels'],
        second['hierarchy']['levels'],
        strict=True,
    ):
        assert torch.equal(one['centroids'], other['centroids'])
        assert torch.equal(one['assignments'], other['assignments'])
        assert len(one['assignments']) == first['images']
