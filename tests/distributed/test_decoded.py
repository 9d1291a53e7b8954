"""A decoded cache on two ranks: rank 0 builds, all read the same."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ranks import run_ranks

WORKER = Path(__file__).with_name('decoded_worker.py')


def test_rank_0_builds_and_all_read(tmp_path):
    (tmp_path / 'images').mkdir()
    source = np.random.default_rng(0)
    images = []
    for i in range(4):
        pixels = source.integers(0, 256, (5 + i, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'images' / f'{i}.png')
        images.append(pixels[:, :, ::-1])
    run_ranks(WORKER, tmp_path)
    ranks = [
        torch.load(tmp_path / f'rank_{rank}.pt', weights_only=True)
        for rank in range(2)
    ]
    assert ranks[0]['build'] == ranks[1]['build']
    for rank in ranks:
        for found, image in zip(rank['images'], images, strict=True):
            assert np.array_equal(found.numpy(), image)
    # What stops rank 0 stops the others, with its reason.
    assert ranks[0]['error'].startswith('ValueError')
    assert ranks[1]['error'].startswith('RuntimeError')
    for rank in ranks:
        assert 'gone.png: no such file' in rank['error']
