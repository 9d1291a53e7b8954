"""Whole runs on ranks that do not divide the images or the batches."""

from pathlib import Path

import pytest
import torch

from ranks import run_ranks

WORKER = Path(__file__).with_name('gloo_worker.py')
IMAGES, BATCH = 251, 16


@pytest.mark.slow
@pytest.mark.parametrize(
    'processes', [3, pytest.param(4, marks=pytest.mark.campaign)]
)
def test_all_ranks_end_alike(tmp_path, processes):
    run_ranks(WORKER, tmp_path, IMAGES, BATCH, ranks=processes)
    first, *others = (
        torch.load(tmp_path / f'rank_{rank}.pt') for rank in range(processes)
    )
    assert first['images'] == IMAGES
    assert len(first['knn']) == 1
    for seen in others:
        for name in ('rungs', 'policy', 'knn'):
            assert seen[name] == first[name], name
        for one, other in zip(
            first['hierarchy']['levels'],
            seen['hierarchy']['levels'],
            strict=True,
        ):
            assert one.keys() == other.keys()
            for name, value in one.items():
                if torch.is_tensor(value):
                    assert torch.equal(value, other[name]), name
                else:
                    assert value == other[name], name
            assert len(one['assignments']) == IMAGES
            # Of the last weights, batch norm's statistics of all ranks.
            nearest = (first['keys'] @ one['centroids'].T).argmax(dim=1)
            assert torch.equal(nearest, one['assignments'])
        for name, value in first['state'].items():
            # Of keys that every rank normalises with its own batch.
            torch.testing.assert_close(
                seen['state'][name], value, atol=1e-5, rtol=1e-4
            )
