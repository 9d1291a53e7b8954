"""Data in one folder, several, or lists of paths; and what is none of it."""

import os

import numpy as np
import pytest

from ahpcl.datasets import (
    DecodedCache,
    MiniImageNet,
    UnlabelledFolder,
    read_rgb,
)
from ahpcl.datasets.roots import image_names, read_list
from ahpcl.utils.own_folder import MARKER, mark_folder, mark_new_folder


def names(dataset):
    return list(dataset.manifest().names)


def paths(dataset):
    return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]


@pytest.fixture
def cameras(tmp_path, make_image):
    """Two folders with images of the same names."""
    for seed, camera in enumerate(('north', 'south')):
        for number in range(3):
            path = tmp_path / camera / 'owls' / f'{number}.webp'
            make_image(path, seed=10 * seed + number, lossless=True)
    make_image(tmp_path / 'south' / 'foxes' / '0.webp', seed=99)
    return tmp_path


def test_several_folders(cameras):
    roots = [str(cameras / 'north'), str(cameras / 'south')]
    dataset = UnlabelledFolder(roots, labels_from_folders=True)
    assert names(dataset) == [
        *(f'north/owls/{i}.webp' for i in range(3)),
        'south/foxes/0.webp',
        *(f'south/owls/{i}.webp' for i in range(3)),
    ]
    # Classes of one name are one class.
    assert dataset.metainfo['classes'] == ('foxes', 'owls')
    assert dataset.get_gt_labels().tolist() == [1, 1, 1, 0, 1, 1, 1]
    assert [dataset[i]['sample_idx'] for i in range(7)] == list(range(7))


def test_several_folders_have_one_decoded_cache(cameras, tmp_path_factory):
    roots = [cameras / 'north', cameras / 'south']
    cache = tmp_path_factory.mktemp('cache')
    dataset = UnlabelledFolder(roots, decoded_cache=str(cache))
    assert isinstance(dataset.decoded, DecodedCache)
    plain = UnlabelledFolder(roots)
    for index in range(7):
        pixels = read_rgb(plain[index]['img_path'])
        assert np.array_equal(dataset[index]['img'][..., ::-1], pixels)
    with pytest.raises(ValueError, match='outside of the data'):
        UnlabelledFolder(roots, decoded_cache=str(cameras / 'south' / 'x'))


def test_a_folder_within_another_counts_once(cameras):
    roots = [str(cameras), str(cameras / 'south' / 'owls')]
    with pytest.raises(ValueError, match='got none'):
        UnlabelledFolder(roots)
    dataset = UnlabelledFolder(roots[::-1])
    assert len(dataset) == len(set(paths(dataset))) == 7


def test_names_of_folders_tell_them_apart():
    found = image_names(
        ['/x/a/pics/1.png', '/y/a/pics/1.png', '/z/2.png'],
        ['/x/a/pics/', '/y/a/pics'],
    )
    assert found == ['x/a/pics/1.png', 'y/a/pics/1.png', '/z/2.png']
    # Other folders may be added without other names.
    found = image_names(['/x/a/1.png'], ['/x/a', '/x/b'])
    assert found == image_names(['/v/a/1.png'], ['/v/a', '/w/c'])


@pytest.mark.parametrize(
    'content',
    [
        b'north/owls/1.webp\nsouth/foxes/0.webp\n',
        b'\xef\xbb\xbfnorth/owls/1.webp\r\n\r\n  south/foxes/0.webp  ',
        'north/owls/1.webp\nsouth/foxes/0.webp\n'.encode('utf-16'),
    ],
    ids=['plain', 'windows', 'utf-16'],
)
def test_a_list_of_paths(cameras, content):
    file = cameras / 'some images.lst'
    file.write_bytes(content)
    dataset = UnlabelledFolder(str(file), labels_from_folders=True)
    assert names(dataset) == ['north/owls/1.webp', 'south/foxes/0.webp']
    assert dataset.metainfo['classes'] == ('north', 'south')
    both = UnlabelledFolder([cameras / 'south' / 'owls', file])
    assert len(both) == 5 and len(set(names(both))) == 5


def test_a_list_may_name_files_anywhere(cameras, tmp_path_factory):
    other = tmp_path_factory.mktemp('lists')
    file = other / 'a.txt'
    file.write_text(f'{cameras}/north/owls/2.webp\n' * 2)
    dataset = UnlabelledFolder(str(file))
    assert paths(dataset) == [f'{cameras}/north/owls/2.webp']


@pytest.mark.parametrize(
    'content, found',
    [
        (b'', 'got none'),
        (b'\x89PNG\0\0', 'no text'),
        (b'north/owls/1.webp 3\n', "file 'north/owls/1.webp'"),
        (b'north/owls/1.webp,owl\n', "file 'north/owls/1.webp'"),
        (b'north/owls/7.webp\n', '7.webp'),
    ],
    ids=['empty', 'binary', 'labels', 'csv', 'missing'],
)
def test_a_list_that_is_none_is_refused(cameras, content, found):
    (cameras / 'list.txt').write_bytes(content)
    with pytest.raises(ValueError, match=found):
        UnlabelledFolder(str(cameras / 'list.txt'))


def test_names_in_a_list_keep_their_bytes_and_blanks(tmp_path, make_image):
    raw = [b' first.png', b'second .png', b'\xe9t\xe9.png']
    for number, name in enumerate(raw):
        make_image(tmp_path / 'x.png', seed=number)
        os.rename(tmp_path / 'x.png', f'{tmp_path}/'.encode() + name)
    (tmp_path / 'l').write_bytes(b'\n'.join(raw))
    found = read_list(str(tmp_path / 'l'))
    assert len(UnlabelledFolder(str(tmp_path / 'l'))) == len(found) == 3


@pytest.mark.parametrize('sign', [MARKER, 'last_checkpoint', 'vis_data'])
def test_what_a_run_wrote_is_no_image(cameras, make_image, sign, caplog):
    runs = cameras / 'north' / 'results of May'
    make_image(runs / 'gallery' / 'k10.png')
    if sign == 'vis_data':
        (runs / sign).mkdir()
    else:
        (runs / sign).write_text('')
    dataset = UnlabelledFolder(str(cameras / 'north'))
    assert names(dataset) == [f'owls/{i}.webp' for i in range(3)]
    # Who names the folder itself means it.
    assert len(UnlabelledFolder(str(runs))) == 1


def test_a_run_is_no_class_either(tmp_path, make_image):
    for place in ('train/owl/1.png', 'train/run_1/figures/1.png'):
        make_image(tmp_path / place)
    mark_folder(tmp_path / 'train' / 'run_1')
    dataset = MiniImageNet(str(tmp_path), layout='folders')
    assert dataset.metainfo['classes'] == ('owl',)


def test_only_new_folders_are_marked(tmp_path, make_image):
    make_image(tmp_path / 'photos' / '1.png')
    for folder in ('photos', 'figures/of/today'):
        mark_new_folder(tmp_path / folder)
    assert not (tmp_path / 'photos' / MARKER).exists()
    assert (tmp_path / 'figures' / 'of' / 'today' / MARKER).exists()
