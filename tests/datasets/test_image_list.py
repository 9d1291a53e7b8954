import logging
import os
import pickle

import numpy as np
import pytest
from mmengine.dataset import ClassBalancedDataset
from mmengine.registry import DATASETS
from PIL import Image

from ahpcl.datasets import ImageListDataset, UnlabelledFolder, scan_images
from ahpcl.datasets import scan as scan_module


class Listed(ImageListDataset):
    def __init__(self, entries, **kwargs):
        self.entries = entries
        super().__init__(**kwargs)

    def load_data_list(self):
        return [dict(entry) for entry in self.entries]


def unscanned(labels, **kwargs):
    entries = [
        {'img_path': str(i)} | ({} if x is None else {'gt_label': x})
        for i, x in enumerate(labels)
    ]
    return Listed(entries, scan='off', **kwargs)


def paths(dataset):
    return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]


@pytest.fixture
def broken(tmp_path, make_image):
    """One good image and one of every kind that is none."""
    root = tmp_path / 'broken'
    make_image(root / 'good.jpg', size=(64, 64))
    make_image(root / 'truncated.jpg', size=(64, 64))
    make_image(root / 'truncated.png', size=(64, 64))
    for name in ('truncated.jpg', 'truncated.png'):
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: len(data) // 2])
    (root / 'zero.jpg').write_bytes(b'')
    (root / 'text.jpg').write_text('this is no image')
    make_image(root / 'tiny.png', size=(1, 1))
    make_image(root / 'thin.png', size=(9, 1))
    Image.fromarray(np.array([[0.0, 9.0]] * 2, np.float32)).save(
        root / 'float.tif'
    )
    return root


BAD = {
    'truncated.jpg': 'truncated',
    'truncated.png': '',
    'zero.jpg': 'zero bytes',
    'text.jpg': 'not an image',
    'tiny.png': '1 x 1 px, less than 2 px',
    'thin.png': '9 x 1 px, less than 2 px',
    'float.tif': 'float pixels',
}


def test_raise_names_every_kind_once(broken):
    with pytest.raises(ValueError) as caught:
        UnlabelledFolder(str(broken), range='dtype')
    text = str(caught.value)
    assert f'{len(BAD)} of {len(BAD) + 1} images' in text
    assert '5 unreadable, 2 too small' in text
    for name, reason in BAD.items():
        line = next(x for x in text.splitlines() if f'{name}:' in x)
        assert reason in line
    assert 'good.jpg' not in text
    assert "on_unreadable='skip'" in text


def test_skip_drops_and_counts(broken, caplog, monkeypatch):
    said = []
    monkeypatch.setattr(
        'ahpcl.datasets.base.print_log',
        lambda text, logger, level=logging.INFO: said.append((text, level)),
    )
    dataset = UnlabelledFolder(
        str(broken), on_unreadable='skip', range='dtype'
    )
    assert paths(dataset) == [str(broken / 'good.jpg')]
    ((text, level),) = [line for line in said if line[1] > logging.INFO]
    assert f'leaves out {len(BAD)} of {len(BAD) + 1} images' in text
    assert level == logging.WARNING


def test_skip_that_leaves_nothing(broken):
    (broken / 'good.jpg').unlink()
    with pytest.raises(ValueError, match='got none'):
        UnlabelledFolder(str(broken), on_unreadable='skip', range='dtype')


def test_missing_files_are_named_and_the_list_is_cut_at_ten(tmp_path):
    entries = [{'img_path': str(tmp_path / f'{i:02d}.jpg')} for i in range(12)]
    with pytest.raises(ValueError) as caught:
        Listed(entries)
    text = str(caught.value)
    assert '12 of 12 images (12 missing)' in text
    assert '09.jpg: no such file' in text
    assert '10.jpg' not in text
    assert 'and 2 more' in text


def test_header_finds_all_but_truncated(broken):
    files = sorted(str(p) for p in broken.iterdir())
    found = {
        os.path.basename(p.path) for p in scan_images(files, mode='header')
    }
    assert found == {'zero.jpg', 'text.jpg', 'tiny.png', 'thin.png'}
    # A header scan is not taken for a full one later.
    found = {os.path.basename(p.path) for p in scan_images(files, mode='full')}
    # What its values become is chosen by the data set, not found by the scan.
    assert found == set(BAD) - {'float.tif'}
    assert scan_images(files, mode='off') == []


def test_auto_reads_headers_of_many(broken, monkeypatch):
    files = sorted(str(p) for p in broken.iterdir())
    monkeypatch.setattr(scan_module, '_memory', {})
    monkeypatch.setattr(scan_module, 'FULL_SCAN_LIMIT', 3)
    assert len(scan_images(files, mode='auto')) == 4
    monkeypatch.setattr(scan_module, 'FULL_SCAN_LIMIT', 8)
    assert len(scan_images(files, mode='auto')) == 6


def test_files_are_opened_once_until_they_change(tmp_path, make_image):
    path = tmp_path / 'a.png'
    make_image(path)
    opened = []
    real = scan_module._open

    def counting(path, full):
        opened.append(path)
        return real(path, full)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_module, '_open', counting)
        for _ in range(3):
            assert scan_images([str(path)]) == []
        assert len(opened) == 1
        path.write_bytes(b'changed')
        assert [p.reason for p in scan_images([str(path)])] == ['not an image']
        assert len(opened) == 2


def test_min_size(tmp_path, make_image):
    make_image(tmp_path / 'a.png', size=(8, 6))
    assert len(UnlabelledFolder(str(tmp_path), min_size=6)) == 1
    with pytest.raises(ValueError, match=r'8 x 6 px.* 7 px'):
        UnlabelledFolder(str(tmp_path), min_size=7)


def test_one_pixel_is_accepted_when_asked(tmp_path, make_image):
    make_image(tmp_path / 'a.png', size=(1, 1))
    assert len(UnlabelledFolder(str(tmp_path), min_size=1)) == 1


@pytest.mark.parametrize(
    'option',
    [
        {'on_unreadable': 'ignore'},
        {'scan': 'quick'},
        {'limit': 0},
        {'min_size': 0},
    ],
)
def test_unknown_options(tmp_path, make_image, option):
    make_image(tmp_path / 'a.png')
    with pytest.raises(ValueError, match=f'expected .*{next(iter(option))}'):
        UnlabelledFolder(str(tmp_path), **option)


def test_unknown_keyword_is_not_swallowed(tmp_path):
    with pytest.raises(TypeError, match='on_unreadible'):
        UnlabelledFolder(str(tmp_path), on_unreadible='skip')


def test_limit_takes_evenly_from_classes_in_order():
    labels = [0] * 10 + [1] * 2 + [2] * 10
    dataset = unscanned(labels, limit=9)
    # Ranks 0 and 1 of every class, then one more of 0, 2 in turn.
    assert [int(p) for p in paths(dataset)] == [
        *(0, 1, 2, 3),
        *(10, 11),
        *(12, 13, 14),
    ]


def test_limit_without_labels_spreads_over_the_list():
    dataset = unscanned([None] * 10, limit=4)
    assert [int(p) for p in paths(dataset)] == [0, 2, 5, 7]
    assert len(unscanned([None] * 3, limit=4)) == 3


def test_labels():
    np.testing.assert_array_equal(
        unscanned([2, None, 0]).get_gt_labels(), [2, -1, 0]
    )
    assert unscanned([None, None]).get_gt_labels() is None


def test_empty_list():
    with pytest.raises(ValueError, match='got none'):
        unscanned([])


def test_sample_idx_serialization_and_subsets():
    for serialize in (True, False):
        dataset = unscanned([5, 6, 7], serialize_data=serialize)
        assert dataset.get_data_info(1) == {
            'img_path': '1',
            'gt_label': 6,
            'sample_idx': 1,
        }
        assert bool(dataset.data_list) != serialize
    assert len(unscanned([5, 6, 7], indices=2)) == 2
    assert len(dataset.get_subset([2])) == 1
    assert len(unscanned([1, 2], lazy_init=True)) == 2


def test_class_balanced_wrapper():
    dataset = unscanned([0] * 9 + [1])
    balanced = ClassBalancedDataset(dataset, oversample_thr=0.5)
    assert len(balanced) > 10


def test_registered_and_picklable(tmp_path, make_image):
    make_image(tmp_path / 'a.png')
    dataset = DATASETS.build(
        {
            'type': 'UnlabelledFolder',
            'data_root': str(tmp_path),
            'pipeline': [{'type': 'LoadImageBGR'}],
        }
    )
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again[0]['img'], dataset[0]['img'])


# The folder itself.


def test_folder_any_nesting_sorted_without_hidden(tmp_path, make_image):
    wanted = ['B.JPG', 'a/b/c/x.png', 'a/y.WebP', 'z.tiff']
    for name in wanted:
        make_image(tmp_path / name)
    for name in ('.hidden.png', '.git/x.png', 'a/._y.jpg'):
        make_image(tmp_path / name)
    (tmp_path / 'notes.txt').write_text('x')
    dataset = UnlabelledFolder(str(tmp_path))
    assert paths(dataset) == [str(tmp_path / name) for name in wanted]
    assert dataset.get_gt_labels() is None
    assert 'gt_label' not in dataset.get_data_info(0)


def test_folder_follows_links_once(tmp_path, make_image):
    make_image(tmp_path / 'real' / 'a.png')
    root = tmp_path / 'root'
    make_image(root / 'b.png')
    (root / 'linked').symlink_to(tmp_path / 'real')
    (root / 'loop').symlink_to(root)
    assert paths(UnlabelledFolder(str(root))) == [
        str(root / 'b.png'),
        str(root / 'linked' / 'a.png'),
    ]


def test_folder_extensions(tmp_path, make_image):
    make_image(tmp_path / 'a.png')
    make_image(tmp_path / 'b.jpg')
    dataset = UnlabelledFolder(str(tmp_path), extensions=('PNG',))
    assert paths(dataset) == [str(tmp_path / 'a.png')]


def test_files_are_known_by_their_content_and_all_are_accounted_for(
    tmp_path, make_image, monkeypatch
):
    said = []
    monkeypatch.setattr(
        'ahpcl.utils.said.print_log', lambda text, **_: said.append(text)
    )
    make_image(tmp_path / 'a.png')
    content = (tmp_path / 'a.png').read_bytes()
    for name in ('b.jfif', 'c.PGM', 'deep/d', 'deep/e.data', 'f.part.1'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / 'notes.txt').write_text('no image')
    (tmp_path / 'empty').touch()
    (tmp_path / 'film.mp4').write_bytes(bytes(range(256)) * 4)
    (tmp_path / '.hidden').mkdir()
    dataset = UnlabelledFolder(str(tmp_path))
    assert [path[len(str(tmp_path)) + 1 :] for path in paths(dataset)] == [
        *('a.png', 'b.jfif', 'c.PGM', 'deep/d', 'deep/e.data', 'f.part.1')
    ]
    (text,) = said
    for part in ('uses 6 images', '1 .jfif', '1 without an ending', '1 .data'):
        assert part in text
    left_out = text.partition('leaves out')[2]
    for part in ('3 (', '1 .txt', '1 .mp4', '1 without an ending', '1 whose'):
        assert part in left_out
    UnlabelledFolder(str(tmp_path))
    assert len(said) == 1  # not for every loader
    UnlabelledFolder(str(tmp_path), extensions=('.png',))
    assert 'leaves out 8' in said[1]
    assert 'extensions' in said[1]


def test_a_broken_file_with_the_ending_of_an_image_is_no_other_file(
    tmp_path, make_image
):
    make_image(tmp_path / 'a.png')
    (tmp_path / 'b.avif').write_bytes(b'not an image')
    with pytest.raises(ValueError, match=r'b\.avif'):
        UnlabelledFolder(str(tmp_path))


def test_folder_errors_say_what_was_looked_for(tmp_path):
    with pytest.raises(ValueError, match=r'nowhere.*does not exist'):
        UnlabelledFolder(str(tmp_path / 'nowhere'))
    with pytest.raises(ValueError, match='set data_root'):
        UnlabelledFolder('')
    with pytest.raises(ValueError, match=r'\.jpg.*no files'):
        UnlabelledFolder(str(tmp_path))
    (tmp_path / 'a.txt').write_text('x')
    with pytest.raises(ValueError, match=r'found 1 \.txt'):
        UnlabelledFolder(str(tmp_path))
    with pytest.raises(ValueError, match='x: no such file'):
        UnlabelledFolder(str(tmp_path / 'a.txt'))  # a list of paths


def test_labels_from_folders(tmp_path, make_image):
    for name in ('dog/1.png', 'cat/deep/2.png', 'dog/3.png'):
        make_image(tmp_path / name)
    dataset = UnlabelledFolder(str(tmp_path), labels_from_folders=True)
    assert dataset.metainfo['classes'] == ('cat', 'dog')
    np.testing.assert_array_equal(dataset.get_gt_labels(), [0, 1, 1])
    make_image(tmp_path / 'loose.png')
    with pytest.raises(ValueError, match=r'1 directly .*loose\.png'):
        UnlabelledFolder(str(tmp_path), labels_from_folders=True)


def test_labels_from_a_table(tmp_path, make_image):
    for name in ('1.png', '2.png', 'deep/3.png'):
        make_image(tmp_path / name)
    (tmp_path / 'labels.csv').write_text('filename,label\n1.png,b\n3.png,a\n')
    dataset = UnlabelledFolder(str(tmp_path), labels='labels.csv')
    assert dataset.metainfo['classes'] == ('a', 'b')
    np.testing.assert_array_equal(dataset.get_gt_labels(), [1, -1, 0])
    with pytest.raises(ValueError, match='labels, got both'):
        UnlabelledFolder(
            str(tmp_path), labels='labels.csv', labels_from_folders=True
        )
    with pytest.raises(ValueError, match=r"labels, got '.*none\.csv'"):
        UnlabelledFolder(str(tmp_path), labels='none.csv')


def test_shares_of_every_class_are_apart_and_complete(tmp_path, make_image):
    for name, count in (('a', 10), ('b', 3), ('c', 1)):
        for number in range(count):
            make_image(tmp_path / name / f'{number}.png')

    def part(*share):
        dataset = UnlabelledFolder(
            str(tmp_path), labels_from_folders=True, per_class=share
        )
        return dataset.get_gt_labels().tolist()

    assert part(0.0, 0.8) == [0] * 8 + [1] * 2
    assert part(0.8, 1.0) == [0] * 2 + [1, 2]
    assert part(0, 1) == [0, 1, 2]  # whole numbers are places
    with pytest.raises(ValueError, match='at least 2 images of every class'):
        part(0, 2)
