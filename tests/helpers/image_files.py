"""Fixtures that write image files, and the archive of real ones."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope='session')
def tin100_archive():
    root = Path(__file__).resolve().parents[2]
    shared = Path(os.environ.get('AHPCL_SHARED', root.parent / 'shared'))
    archive = shared / 'data' / 'tin100.tar.gz'
    if not archive.is_file():
        pytest.skip('the real images are not here: ../shared/data')
    return archive


@pytest.fixture
def make_image():
    """Write a random picture; returns its RGB pixels."""

    def write(path, seed=0, size=(8, 6), **options):
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **options)
        return pixels

    return write


@pytest.fixture
def make_mini(tmp_path, make_image):
    """Write a tiny mini-ImageNet in the split-file layout."""

    def write(per_class=5, classes=None):
        root = tmp_path / 'mini'
        classes = classes or {
            'train': ['n03', 'n01'],
            'val': ['n02'],
            'test': ['n04', 'n05'],
        }
        for split, names in classes.items():
            lines = ['filename,label']
            for name in names:
                for number in range(1, per_class + 1):
                    file = f'{name}{number:08d}.png'
                    make_image(root / 'images' / file, seed=sum(file.encode()))
                    lines.append(f'{file},{name}')
            (root / f'{split}.csv').write_text('\n'.join(lines) + '\n')
        return root

    return write
