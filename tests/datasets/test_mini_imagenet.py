import os
import pickle
import tarfile

import numpy as np
import pytest
from mmengine.registry import DATASETS

from ahpcl.datasets import MiniImageNet

LOAD = [{'type': 'LoadImageBGR'}]


def names(dataset):
    return [
        os.path.basename(dataset.get_data_info(i)['img_path'])
        for i in range(len(dataset))
    ]


def numbers(dataset):
    return [int(name[3:11]) for name in names(dataset)]


def test_class_split(make_mini):
    root = make_mini(per_class=3)
    train = MiniImageNet(str(root), split='train')
    assert train.metainfo['classes'] == ('n01', 'n03')
    assert names(train)[:4] == [
        'n0300000001.png',
        'n0300000002.png',
        'n0300000003.png',
        'n0100000001.png',
    ]
    np.testing.assert_array_equal(train.get_gt_labels(), [1] * 3 + [0] * 3)
    two = MiniImageNet(str(root), split=('train', 'val'))
    assert two.metainfo['classes'] == ('n01', 'n02', 'n03')
    assert len(MiniImageNet(str(root), split='all')) == 15


def test_pixels(make_mini, make_image, tmp_path):
    root = make_mini(per_class=1)
    dataset = MiniImageNet(str(root), split='test', pipeline=LOAD)
    pixels = make_image(tmp_path / 'same.png', seed=sum(b'n0500000001.png'))
    np.testing.assert_array_equal(dataset[1]['img'], pixels[..., ::-1])
    assert dataset[1]['sample_idx'] == 1


def test_image_split(make_mini):
    root = make_mini(per_class=10)
    parts = {
        part: MiniImageNet(str(root), protocol='image', split=part)
        for part in ('train', 'test', 'all')
    }
    for part in parts.values():
        assert part.metainfo['classes'] == ('n01', 'n02', 'n03', 'n04', 'n05')
    assert set(numbers(parts['train'])) == set(range(1, 9))
    assert set(numbers(parts['test'])) == {9, 10}
    assert len(parts['train']) == 40
    assert len(parts['test']) == 10
    assert set(names(parts['train'])).isdisjoint(names(parts['test']))
    assert len(parts['all']) == 50


def test_part_sizes_can_be_set(make_mini):
    root = make_mini(per_class=10)

    def numbers_of(part):
        dataset = MiniImageNet(
            str(root),
            protocol='image',
            split=part,
            train_per_class=5,
            test_per_class=2,
        )
        return sorted(set(numbers(dataset)))

    assert numbers_of('train') == [1, 2, 3, 4, 5]
    assert numbers_of('val') == [6, 7, 8]
    assert numbers_of('test') == [9, 10]


def test_some_of_the_classes(make_mini):
    root = make_mini(per_class=10)
    both = MiniImageNet(str(root), split='train', num_classes=2)
    assert both.metainfo['classes'] == ('n01', 'n03')
    one = MiniImageNet(
        str(root), split='train', image_part='test', num_classes=1
    )
    assert one.metainfo['classes'] == ('n01',)
    assert numbers(one) == [9, 10]
    with pytest.raises(ValueError, match=r'num_classes.* 2'):
        MiniImageNet(str(root), split='train', num_classes=3)
    with pytest.raises(ValueError, match=r'num_classes.* 1'):
        MiniImageNet(str(root), num_classes=0)


def test_usual_part_sizes():
    dataset = MiniImageNet('nowhere', lazy_init=True)
    assert dataset._counts('x', 600) == (500, 100)
    assert dataset._counts('x', 250) == (200, 50)
    assert dataset._counts('x', 10) == (8, 2)


def test_image_part_of_a_class_split(make_mini):
    root = make_mini(per_class=10)
    held_out = MiniImageNet(str(root), split='train', image_part='test')
    assert held_out.metainfo['classes'] == ('n01', 'n03')
    assert numbers(held_out) == [9, 10, 9, 10]


def test_images_are_ordered_by_number_not_by_letter(tmp_path, make_image):
    for split in ('train', 'val', 'test'):
        for number in (10026, 9999, 123):
            make_image(tmp_path / split / 'n01' / f'n01_{number}.JPEG')
    dataset = MiniImageNet(str(tmp_path), split='train')
    assert names(dataset) == [
        'n01_123.JPEG',
        'n01_9999.JPEG',
        'n01_10026.JPEG',
    ]
    part = MiniImageNet(
        str(tmp_path), split='train', image_part='test', test_per_class=1
    )
    assert names(part) == ['n01_10026.JPEG']


def test_folders(tmp_path, make_image):
    for name in ('train/b/1.jpg', 'train/a/2.png', 'train/a/.x.jpg'):
        make_image(tmp_path / name)
    (tmp_path / 'train' / 'a' / 'notes.txt').write_text('x')
    dataset = MiniImageNet(str(tmp_path), split='train')
    assert names(dataset) == ['2.png', '1.jpg']
    np.testing.assert_array_equal(dataset.get_gt_labels(), [0, 1])
    with pytest.raises(ValueError, match='val with a folder of images'):
        MiniImageNet(str(tmp_path), split='val')
    (tmp_path / 'val' / 'empty').mkdir(parents=True)
    with pytest.raises(ValueError, match='class folders with images'):
        MiniImageNet(str(tmp_path), split='val')


def test_images_in_class_folders_beside_split_files(make_mini):
    root = make_mini(per_class=2)
    for image in list((root / 'images').iterdir()):
        folder = root / 'images' / image.name[:3]
        folder.mkdir(exist_ok=True)
        image.rename(folder / image.name)
    assert len(MiniImageNet(str(root), split='all')) == 10


# Pickled caches.


def cache(count, per_class, names, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 84, 84, 3), dtype=np.uint8)
    places = np.arange(count).reshape(-1, per_class).tolist()
    return images, dict(zip(names, places, strict=True))


def test_cache_with_class_dict(tmp_path):
    images, classes = cache(6, 3, ['n09', 'n02'])
    for split in ('train', 'val', 'test'):
        with open(tmp_path / f'mini-imagenet-cache-{split}.pkl', 'wb') as f:
            shift = {f'{k}{split}': v for k, v in classes.items()}
            pickle.dump({'image_data': images, 'class_dict': shift}, f, 2)
    dataset = MiniImageNet(str(tmp_path), split='val', pipeline=LOAD)
    assert dataset.metainfo['classes'] == ('n02val', 'n09val')
    np.testing.assert_array_equal(dataset.get_gt_labels(), [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(dataset[4]['img'], images[4][..., ::-1])
    assert dataset[4]['img_path'].endswith('cache-val.pkl#4')
    joined = MiniImageNet(str(tmp_path), split='all', pipeline=LOAD)
    assert len(joined) == 18
    np.testing.assert_array_equal(joined[13]['img'], images[1][..., ::-1])
    # Nobody can change the images for others.
    joined[13]['img'][:] = 0
    np.testing.assert_array_equal(joined[13]['img'], images[1][..., ::-1])
    part = MiniImageNet(str(tmp_path), protocol='image', split='test')
    assert len(part) == 6
    assert part.get_data_info(0)['img_path'].endswith('#2')


@pytest.mark.parametrize('as_list', [True, False])
@pytest.mark.parametrize('with_names', [True, False])
def test_cache_with_labels(tmp_path, as_list, with_names):
    images, _ = cache(4, 2, ['a', 'b'])
    content = {
        'data': list(images) if as_list else images,
        'labels': [7, 5, 7, 5],
    }
    if with_names:
        content['catname2label'] = {'n07': 7, 'n05': 5}
    name = 'miniImageNet_category_split_train_phase_train.pickle'
    (tmp_path / name).write_bytes(pickle.dumps(content))
    dataset = MiniImageNet(str(tmp_path), pipeline=LOAD)
    expected = ('n05', 'n07') if with_names else ('train_0005', 'train_0007')
    assert dataset.metainfo['classes'] == expected
    np.testing.assert_array_equal(dataset.get_gt_labels(), [1, 0, 1, 0])
    np.testing.assert_array_equal(dataset[3]['img'], images[3][..., ::-1])


class Hostile:
    def __reduce__(self):
        return os.mkdir, ('ran-by-pickle',)


def test_hostile_cache_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, classes = cache(2, 1, ['a', 'b'])
    content = {
        'image_data': images,
        'class_dict': classes,
        'extra': Hostile(),
    }
    (tmp_path / 'mini-imagenet-cache-train.pkl').write_bytes(
        pickle.dumps(content)
    )
    with pytest.raises(ValueError, match=r'posix\.mkdir.*refused'):
        MiniImageNet(str(tmp_path))
    assert not (tmp_path / 'ran-by-pickle').exists()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'images': 1}, r"got \['images'\]"),
        ([1, 2], 'got list'),
        (
            {'image_data': np.zeros((2, 4, 4)), 'class_dict': {'a': [0, 1]}},
            'as uint8',
        ),
        (
            {
                'image_data': np.zeros((2, 4, 4, 3), np.uint8),
                'class_dict': {'a': [0]},
            },
            'one label for each of the 2 images',
        ),
        ({'data': [], 'labels': []}, 'as uint8'),
    ],
)
def test_caches_of_another_kind(tmp_path, content, message):
    (tmp_path / 'mini-imagenet-cache-train.pkl').write_bytes(
        pickle.dumps(content)
    )
    with pytest.raises(ValueError, match=message):
        MiniImageNet(str(tmp_path))


def test_cache_of_a_split_is_missing(tmp_path):
    images, classes = cache(2, 1, ['a', 'b'])
    (tmp_path / 'mini-imagenet-cache-train.pkl').write_bytes(
        pickle.dumps({'image_data': images, 'class_dict': classes})
    )
    with pytest.raises(ValueError, match='cache of test'):
        MiniImageNet(str(tmp_path), split='test')


# What users get wrong.


def test_no_folder_and_wrong_folder(tmp_path):
    with pytest.raises(ValueError, match='set data_root'):
        MiniImageNet(str(tmp_path / 'nowhere'))
    (tmp_path / 'else').write_text('x')
    with pytest.raises(ValueError, match=r"train\.csv.*found \['else'\]"):
        MiniImageNet(str(tmp_path))


def test_split_file_missing(make_mini):
    root = make_mini()
    (root / 'val.csv').unlink()
    with pytest.raises(ValueError, match=r'val\.csv.*train\.csv, test\.csv'):
        MiniImageNet(str(root), split='val')
    assert len(MiniImageNet(str(root), split='train')) == 10


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('file,label\na.jpg,x\n', 'columns filename and label.*file, label'),
        ('', 'an empty file'),
        ('filename,label\n', 'only a header'),
        ('filename,label\na.jpg\n', 'in line 2'),
        ('filename,label\na.jpg,x\na.jpg,y\n', r'a\.jpg twice'),
    ],
)
def test_split_file_is_wrong(make_mini, text, message):
    root = make_mini()
    (root / 'train.csv').write_text(text)
    with pytest.raises(ValueError, match=message):
        MiniImageNet(str(root))


def test_split_file_with_byte_order_mark_and_more_columns(make_mini):
    root = make_mini(per_class=1)
    (root / 'train.csv').write_text(
        'n,filename,label\n0,n0100000001.png,n01\n', encoding='utf-8-sig'
    )
    assert names(MiniImageNet(str(root))) == ['n0100000001.png']


def test_images_folder_missing(make_mini):
    root = make_mini(per_class=1)
    (root / 'images').rename(root / 'pictures')
    with pytest.raises(ValueError, match='set images_dir'):
        MiniImageNet(str(root))
    assert len(MiniImageNet(str(root), images_dir='pictures')) == 2


def test_images_missing(make_mini):
    root = make_mini(per_class=10)
    for number in range(1, 11):
        (root / 'images' / f'n01{number:08d}.png').unlink()
    (root / 'images' / 'n0300000001.png').unlink()
    with pytest.raises(ValueError) as caught:
        MiniImageNet(str(root))
    text = str(caught.value)
    assert '11 of 20 images (11 missing)' in text
    assert text.count('no such file') == 10
    assert 'and 1 more' in text
    assert len(MiniImageNet(str(root), on_unreadable='skip')) == 9


@pytest.mark.parametrize(
    'options',
    [
        {'split': 'training'},
        {'split': ()},
        {'protocol': 'fewshot'},
        {'layout': 'zip'},
        {'image_part': 'first'},
        {'train_per_class': 0},
        {'test_per_class': -1},
        {'protocol': 'image', 'split': ('train', 'val')},
        {'protocol': 'image', 'image_part': 'train'},
    ],
)
def test_unknown_options(make_mini, options):
    with pytest.raises(ValueError, match='expected'):
        MiniImageNet(str(make_mini(per_class=1)), **options)


def test_parts_that_do_not_fit(make_mini):
    root = str(make_mini(per_class=4))
    with pytest.raises(ValueError, match="the 4 images of class 'n03'"):
        MiniImageNet(root, image_part='train', train_per_class=5)
    with pytest.raises(ValueError, match='nothing between'):
        MiniImageNet(root, protocol='image', split='val')


def test_limit_keeps_classes_even(make_mini):
    dataset = MiniImageNet(str(make_mini()), split='all', limit=10)
    assert np.bincount(dataset.get_gt_labels()).tolist() == [2] * 5


# Real images.


@pytest.fixture(scope='module')
def tin100(tin100_archive, tmp_path_factory):
    """The split files and the first, 200th, 201st and 250th of a class."""
    root = tmp_path_factory.mktemp('tin100')
    with tarfile.open(tin100_archive) as archive:
        for member in archive:
            keep = member.name.endswith('.csv') or (
                member.isfile()
                and int(member.name[-12:-4]) in (1, 200, 201, 250)
            )
            if keep:
                target = root / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.extractfile(member).read())
    return root / 'tin100'


def test_tin100_class_split(tin100):
    sizes = {}
    for split in ('train', 'val', 'test'):
        dataset = MiniImageNet(str(tin100), split=split, scan='off')
        sizes[split] = len(dataset), len(dataset.metainfo['classes'])
    assert sizes == {
        'train': (16000, 64),
        'val': (4000, 16),
        'test': (5000, 20),
    }


@pytest.mark.parametrize(
    ('part', 'total', 'ends'),
    [('train', 200, (1, 200)), ('test', 50, (201, 250))],
)
def test_tin100_image_split(tin100, part, total, ends):
    dataset = MiniImageNet(
        str(tin100), protocol='image', split=part, scan='off'
    )
    assert len(dataset) == 100 * total
    assert set(np.bincount(dataset.get_gt_labels())) == {total}
    found = {int(name[-12:-4]) for name in names(dataset)}
    assert (min(found), max(found), len(found)) == (*ends, total)


def test_tin100_images(tin100):
    dataset = DATASETS.build(
        {
            'type': 'MiniImageNet',
            'data_root': str(tin100),
            'protocol': 'image',
            'split': 'all',
            'on_unreadable': 'skip',
            'pipeline': LOAD,
        }
    )
    assert len(dataset) == 400
    assert dataset[7]['img'].shape == (64, 64, 3)
    assert dataset[7]['img'].std() > 5
