"""What tells the images of one data set from those of another."""

import os

import numpy as np
import pytest
import torch

from ahpcl.datasets import Digits, HierarchicalShapes
from ahpcl.datasets import manifest as module
from ahpcl.datasets.manifest import Manifest, manifest_of


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
    before = of(images)
    moved = images.rename(tmp_path.with_name(f'{tmp_path.name}_moved'))
    assert of(moved).digest() == before.digest()
    assert before.compare(of(moved)).none


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


def test_names_do_not_run_together():
    values = np.array([1, 1]), np.zeros(2, dtype=np.uint64)
    one = Manifest(('ab', 'c'), *values)
    other = Manifest(('a', 'bc'), *values)
    assert one.digest() != other.digest()


def test_a_renamed_file_keeps_its_place_and_the_others_theirs(images):
    before = of(images)
    (images / 'a.png').rename(images / 'z.png')
    found = before.compare(of(images, ['b.png', 'deep/c.png', 'z.png']))
    assert found.places.tolist() == [1, 2, 0]
    assert found.renamed == (('a.png', 'z.png'),)
    assert found.same_images and found.reordered
    assert not found.same_places


def test_images_come_go_and_change(images):
    before = of(images)
    (images / 'b.png').write_bytes(b'another')
    (images / 'aa.png').write_bytes(b'new')
    found = before.compare(of(images, ['aa.png', 'b.png', 'deep/c.png']))
    assert found.places.tolist() == [-1, -1, 2]
    assert found.new == ('aa.png',)
    assert found.changed == ('b.png',)
    assert found.gone == ('a.png',)
    assert not found.renamed and not found.reordered
    text = found.describe()
    for words in ('1 as before', '1 new (aa.png)', '1 gone (a.png)'):
        assert words in text


def test_files_that_were_numbered_anew_go_by_content(tmp_path):
    for number in range(5):
        (tmp_path / f'{number}.bmp').write_bytes(bytes([number]) * 9)
    before = of(tmp_path, [f'{i}.bmp' for i in range(5)])
    (tmp_path / '1.bmp').unlink()
    for number in (2, 3, 4):
        (tmp_path / f'{number}.bmp').rename(tmp_path / f'{number - 1}.bmp')
    found = before.compare(of(tmp_path, [f'{i}.bmp' for i in range(4)]))
    assert found.places.tolist() == [0, 2, 3, 4]
    assert not found.changed and not found.new
    assert found.gone == ('1.bmp',)


def test_a_content_that_several_images_have_is_nobodys(tmp_path):
    for name in ('a', 'b', 'c'):
        (tmp_path / name).write_bytes(b'blank page')
    before = of(tmp_path, ['a', 'b'])
    found = before.compare(of(tmp_path, ['b', 'c']))
    assert found.places.tolist() == [1, -1]
    assert (found.new, found.gone) == (('c',), ('a',))


def test_a_name_may_come_twice(images):
    before = of(images, ['a.png', 'b.png', 'a.png'])
    found = before.compare(of(images, ['a.png', 'a.png', 'b.png']))
    assert found.places.tolist() == [0, 2, 1]
    found = before.compare(of(images, ['a.png', 'b.png']))
    assert found.places.tolist() == [0, 1]
    assert found.gone == ('a.png',)


def test_contents_of_large_files_are_told_by_three_parts(tmp_path):
    content = bytearray(100_000)
    marks = set()
    for place in (0, 50_000, 99_999):
        changed = bytearray(content)
        changed[place] = 1
        path = tmp_path / f'{place}.ppm'
        path.write_bytes(changed)
        marks.add(int(Manifest.of([str(path)]).marks[0]))
    assert len(marks) == 3 and 0 not in marks


def test_of_many_files_the_same_few_are_looked_at(images, monkeypatch):
    monkeypatch.setattr(module, '_MARKED_ALL', 20)
    monkeypatch.setattr(module, '_MARKED_SOME', 8)
    names = [f'{i:03d}.gif' for i in range(100)]
    for name in names:
        (images / name).write_bytes(name.encode())
    before = of(images, names)
    after = of(images, names[:50] + ['a.png'] + names[50:])
    assert (before.marks != 0).sum() == (after.marks != 0).sum() == 8
    assert (before.sizes == 7).all()
    marked = {n for n, m in zip(after.names, after.marks, strict=True) if m}
    same = {n for n, m in zip(names, before.marks, strict=True) if m}
    assert len(marked & same) >= 7
    found = before.compare(after)
    assert found.new == ('a.png',)
    assert found.places.tolist() == [*range(50), -1, *range(50, 100)]


def test_it_goes_through_a_checkpoint(images, tmp_path):
    names = ['a.png', 'b.png', 'gone.png', 'ü\n.png']
    names.append(os.fsdecode(b'\xff.png'))
    before = of(images, names)
    torch.save(before.state_dict(), tmp_path / 'state.pth')
    state = torch.load(tmp_path / 'state.pth', weights_only=True)
    after = Manifest.from_state_dict(state)
    assert after.names == before.names
    assert after.sizes.tolist() == [1, 2, -1, -1, -1]
    assert after.digest() == before.digest()
    assert before.compare(after).none


@pytest.mark.parametrize(
    'state',
    [
        {},
        dict(names=3, sizes=3, marks=3),
        dict.fromkeys(('names', 'sizes', 'marks'), torch.ones(9).byte()),
    ],
)
def test_what_is_no_manifest_is_refused(state):
    with pytest.raises(ValueError, match='list of images'):
        Manifest.from_state_dict(state)


def test_images_without_files_go_by_their_pixels():
    digits = Digits(limit=30).manifest()
    assert digits.names[0] == 'digits/0000'
    assert digits.compare(Digits(limit=30).manifest()).none
    smaller = digits.compare(Digits(limit=30, img_size=16).manifest())
    assert len(smaller.changed) == 30
    shapes = HierarchicalShapes(12).manifest()
    more = shapes.compare(HierarchicalShapes(15).manifest())
    assert more.places.tolist() == [*range(12), -1, -1, -1]
    other = shapes.compare(HierarchicalShapes(12, nuisance=0.5).manifest())
    assert not (other.places >= 0).any()


def test_sets_of_other_packages_are_described_by_their_paths(images):
    class Foreign:
        data_root = str(images)

        def __len__(self):
            return 2

        def get_data_info(self, index):
            return {'img_path': str(images / ['a.png', 'deep/c.png'][index])}

    assert manifest_of(Foreign()).names == ('a.png', 'deep/c.png')
    assert manifest_of([1, 2, 3]) is None
