"""What tells the images of one data set from those of another."""

import numpy as np
import pytest

from ahpcl.datasets.manifest import Manifest


@pytest.fixture
def images(tmp_path):
    (tmp_path / 'deep').mkdir()
    for number, name in enumerate(['a.png', 'b.png', 'deep/c.png']):
        (tmp_path / name).write_bytes(bytes([number]) * (number + 1))
    return tmp_path


def of(folder, names=('a.png', 'b.png', 'deep/c.png')):
    return Manifest.of([str(folder / name) for name in names], folder)


def test_names_and_sizes(images):
    manifest = of(images)
    assert manifest.names == ('a.png', 'b.png', 'deep/c.png')
    assert np.array_equal(manifest.sizes, [1, 2, 3])
    assert len(manifest) == 3


def test_images_that_moved_together_are_the_same(images, tmp_path):
    before = of(images).digest()
    moved = images.rename(tmp_path.with_name(f'{tmp_path.name}_moved'))
    assert of(moved).digest() == before


@pytest.mark.parametrize('change', ['renamed', 'larger', 'other', 'gone'])
def test_other_images_have_another_digest(images, change):
    before = of(images).digest()
    names = ['a.png', 'b.png', 'deep/c.png']
    if change == 'renamed':
        (images / 'b.png').rename(images / 'b2.png')
        names[1] = 'b2.png'
    elif change == 'larger':
        (images / 'b.png').write_bytes(b'12345')
    elif change == 'other':
        (images / 'b.png').write_bytes(b'zz')
    else:
        (images / 'b.png').unlink()
    assert of(images, names).digest() != before


def test_the_order_counts(images):
    assert of(images).digest() != of(images, ['b.png', 'a.png']).digest()
    names = ['b.png', 'a.png', 'deep/c.png']
    assert of(images).digest() != of(images, names).digest()


def test_names_do_not_run_together(tmp_path):
    one = Manifest(('ab', 'c'), np.array([1, 1]), b'')
    other = Manifest(('a', 'bc'), np.array([1, 1]), b'')
    assert one.digest() != other.digest()
