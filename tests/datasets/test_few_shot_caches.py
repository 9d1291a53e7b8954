"""tieredImageNet, CIFAR-FS and FC100 in the layouts that circulate."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

from ahpcl.datasets import MiniImageNet
from ahpcl.datasets.mini_imagenet_files import read_split_file

SPLITS = ('train', 'val', 'test')
LOAD = [{'type': 'LoadImageBGR'}]


def pictures(count, side=12, seed=0):
    """RGB, red is not blue."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def dump(content, path, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol))


def shown(dataset, place):
    """The RGB pixels that training sees."""
    return dataset[place]['img'][..., ::-1]


@pytest.fixture
def tiered(tmp_path):
    """Writes as its authors do: OpenCV's order, PNG of OpenCV, an .npz."""

    def write(kind, labels='label_specific', save=np.savez):
        root = tmp_path / f'tiered-{kind}'
        root.mkdir()
        held = {}
        for number, split in enumerate(SPLITS):
            rgb = held[split] = pictures(9, seed=number)
            bgr = np.ascontiguousarray(rgb[..., ::-1])
            if kind == 'png':
                files = [cv2.imencode('.png', image)[1] for image in bgr]
                if number:  # of OpenCV before 4.5.?: (n, 1)
                    files = [file.reshape(-1, 1) for file in files]
                dump(files, root / f'{split}_images_png.pkl')
            else:
                save(root / f'{split}_images.npz', images=bgr)
            numbers = np.arange(9, dtype=np.int32) // 3
            content = {labels: numbers if number else numbers.tolist()}
            if labels == 'label_specific':
                content |= {
                    'label_specific_str': ['crane', f'{split} dog', 'crane'],
                    'label_general': numbers // 2,
                    'label_general_str': ['a', 'b'],
                }
            dump(content, root / f'{split}_labels.pkl')
        return root, held

    return write


@pytest.mark.parametrize('kind', ['png', 'npz'])
def test_tiered_imagenet_shows_its_colours(tiered, kind):
    root, held = tiered(kind)
    for split in SPLITS:
        dataset = MiniImageNet(str(root), split=split, pipeline=LOAD)
        assert len(dataset) == 9
        for place in (0, 4, 8):
            assert np.array_equal(shown(dataset, place), held[split][place])
        # Two of ImageNet's classes are called crane.
        assert dataset.metainfo['classes'] == (
            ('crane 0', 'crane 2', f'{split} dog')
        )
        labels = dataset.get_gt_labels().tolist()
        assert labels == [0] * 3 + [2] * 3 + [1] * 3
    several = MiniImageNet(str(root), split=('val', 'test'), pipeline=LOAD)
    assert np.array_equal(shown(several, 10), held['test'][1])
    block, _ = several.store.block([2, 12])
    expected = np.stack([held['val'][2], held['test'][3]])
    assert np.array_equal(
        block.numpy()[:, ::-1].transpose(0, 2, 3, 1), expected
    )


def test_numbered_classes_of_splits_are_not_mixed(tiered):
    root, _ = tiered('npz', labels='labels', save=np.savez_compressed)
    dataset = MiniImageNet(str(root), split='all', pipeline=LOAD)
    assert len(dataset.metainfo['classes']) == 9
    assert dataset.metainfo['classes'][0] == 'test_0000'


def test_an_npz_stays_on_the_disk(tiered, tmp_path):
    root, held = tiered('npz')
    dataset = MiniImageNet(str(root), split='train', pipeline=LOAD)
    dataset.full_init()
    # What is written over the file shows: nothing was copied.
    raw = bytearray((root / 'train_images.npz').read_bytes())
    last = held['train'][8][..., ::-1].tobytes()
    place = raw.index(last)
    with open(root / 'train_images.npz', 'r+b') as file:
        file.seek(place)
        file.write(bytes(len(last)))
    assert not shown(dataset, 8).any()
    assert np.array_equal(shown(dataset, 7), held['train'][7])


@pytest.mark.parametrize(
    'name', ['CIFAR_FS_{}.pickle', 'cifar_fs_{}.pickle', 'FC100_{}.pickle']
)
def test_cifar_fs_and_fc100(tmp_path, name):
    held = {}
    for number, split in enumerate(SPLITS):
        held[split] = pictures(8, side=32, seed=number)
        labels = [20 * number + place // 4 for place in range(8)]
        content = {'data': held[split], 'labels': labels}
        dump(content, tmp_path / name.format(split))
    dataset = MiniImageNet(str(tmp_path), split='val', pipeline=LOAD)
    assert np.array_equal(shown(dataset, 5), held['val'][5])
    assert dataset.metainfo['classes'] == ('val_0020', 'val_0021')
    dump({}, tmp_path / 'train.pkl')
    with pytest.raises(ValueError, match=r'train\.pkl; move'):
        MiniImageNet(str(tmp_path), pipeline=LOAD)


@pytest.mark.parametrize('inside', ['', 'cifar100'])
def test_class_folders_with_lists(tmp_path, make_image, inside):
    base = tmp_path / inside
    classes = {
        'train': ['apple', 'maple tree'],
        'val': ['café'],
        'test': ['w'],
    }
    for split, names in classes.items():
        for who in ('bertinetto', 'other'):
            file = base / 'splits' / who / f'{split}.txt'
            file.parent.mkdir(parents=True, exist_ok=True)
            text = '\r\n'.join(names if who == 'bertinetto' else ['w'])
            file.write_bytes(f'{text} \r\n\r\n'.encode('cp1252'))
        for name in names:
            for number in range(3):
                make_image(base / 'data' / name / f'{name}_{number}.png')
    for split, names in classes.items():
        dataset = MiniImageNet(str(tmp_path), split=split, pipeline=LOAD)
        assert len(dataset) == 3 * len(names)
        # The list of 'val' is in Windows' code page, the folder in UTF-8.
        found = [os.fsencode(name) for name in dataset.metainfo['classes']]
        assert found == [
            name.encode('cp1252' if split == 'val' else 'utf-8')
            for name in names
        ]
    (base / 'splits' / 'bertinetto' / 'test.txt').write_text('w\nnone\n')
    with pytest.raises(ValueError, match=r"'none' of .*test\.txt"):
        MiniImageNet(str(tmp_path), split='test', pipeline=LOAD)


def test_images_under_the_names_of_their_classes(tmp_path):
    images = pictures(6)
    content = {'n01': list(images[:4]), 'n02': images[4:]}
    dump(content, tmp_path / 'mini_imagenet_train.pickle')
    dataset = MiniImageNet(str(tmp_path), pipeline=LOAD)
    assert dataset.metainfo['classes'] == ('n01', 'n02')
    assert np.array_equal(shown(dataset, 5), images[5])


@pytest.mark.parametrize('pack', [gzip.open, bz2.open, lzma.open])
def test_packed_pickles_are_read(tmp_path, pack):
    images = pictures(4)
    with pack(tmp_path / 'FC100_train.pickle', 'wb') as file:
        pickle.dump({'data': images, 'labels': [0, 0, 1, 1]}, file)
    dataset = MiniImageNet(str(tmp_path), pipeline=LOAD)
    assert np.array_equal(shown(dataset, 3), images[3])


def test_an_npz_that_is_called_a_pickle(tmp_path):
    images = pictures(4)
    with open(tmp_path / 'CIFAR_FS_train.pickle', 'wb') as file:
        np.savez(file, data=images, labels=[3, 3, 1, 1])
    dataset = MiniImageNet(str(tmp_path), pipeline=LOAD)
    assert np.array_equal(shown(dataset, 3), images[3])
    assert dataset.get_gt_labels().tolist() == [1, 1, 0, 0]


FOUND = {
    'a web page': b'\n<!DOCTYPE html><html>Quota exceeded</html>',
    'Git LFS': b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n',
    'a tar archive': b'x' * 257 + b'ustar' + b'\0' * 250,
    'an empty file': b'',
    'HDF5': b'\x89HDF\r\n\x1a\n' + b'\0' * 9,
}


@pytest.mark.parametrize('what', FOUND)
def test_what_is_no_pickle_is_named(tmp_path, what):
    (tmp_path / 'FC100_train.pickle').write_bytes(FOUND[what])
    with pytest.raises(ValueError, match=what) as raised:
        MiniImageNet(str(tmp_path), pipeline=LOAD).full_init()
    assert 'FC100_train.pickle' in str(raised.value)
    (tmp_path / 'FC100_train.pickle').unlink()
    (tmp_path / 'train_images.npz').write_bytes(FOUND[what])
    dump({'labels': [0]}, tmp_path / 'train_labels.pkl')
    with pytest.raises(ValueError, match=what):
        MiniImageNet(str(tmp_path), pipeline=LOAD).full_init()


def test_damaged_tiered_files(tiered):
    root, _ = tiered('npz')
    file = root / 'train_images.npz'

    def fails(match):
        with pytest.raises(ValueError, match=match):
            MiniImageNet(str(root), pipeline=LOAD).full_init()

    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    fails(r'train_images\.npz')
    np.savez(file, pixels=pictures(9))
    fails(r"'images' in .*pixels\.npy")
    np.savez_compressed(file, images=np.zeros((9, 999, 999, 3), np.uint8))
    fails('refused')
    np.savez(file, images=pictures(8))
    fails('one label for each of the 8 images')
    np.savez(file, images=np.array([{}] * 9, object))
    fails(r'train_images\.npz')
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header,
        dict(descr='|u1', fortran_order=False, shape=(9, 12, 12, 3000)),
    )
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('images.npy', header.getvalue() + bytes(99))
    fails('more than there is')
    (root / 'train_labels.pkl').unlink()
    fails(r'train_labels\.pkl')


def test_damaged_png_pickles(tmp_path):
    images, labels = (
        tmp_path / f'train_{kind}.pkl' for kind in ('images_png', 'labels')
    )
    dump({'labels': [0, 0]}, labels)
    good = cv2.imencode('.png', pictures(1)[0])[1]
    other = cv2.imencode('.png', pictures(1, side=7)[0])[1]
    black = io.BytesIO()
    Image.new('RGB', (4000, 4000)).save(black, 'PNG')
    bomb = np.frombuffer(black.getvalue(), np.uint8)
    for files, match in (
        ([good, good[:50]], 'at 1 in'),
        ([good, other], 'one size'),
        ([bomb, bomb], 'refused'),
        ([good, 'text'], 'at 1 in'),
        ([], 'of 0'),
        ({'a': 1}, 'dict'),
    ):
        dump(files, images)
        with pytest.raises(ValueError, match=match) as raised:
            MiniImageNet(str(tmp_path), pipeline=LOAD).full_init()
        assert 'train_images_png.pkl' in str(raised.value)


def test_a_packed_bomb_is_refused(tmp_path):
    with gzip.open(tmp_path / 'train.pkl', 'wb') as file:
        file.write(bytes(40 * 2**20))
    with pytest.raises(ValueError, match='unpacks to more'):
        MiniImageNet(str(tmp_path), pipeline=LOAD).full_init()


# ---- lists --------------------------------------------------------------

ROWS = [('grün 1.png', 'n01'), ('b;c.png', 'n02')]
HEADERS = {
    'utf-8': 'filename,label\n',
    'utf-8-sig': ' Filename , Label\n',
    'utf-16': 'filename\tlabel\textra\n',
    'utf-32': '\n\nfilename,label\n',
}


@pytest.mark.parametrize('coding', HEADERS)
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_lists_in_other_codings(tmp_path, coding, end):
    text = HEADERS[coding]
    sign = '\t' if '\t' in text else ','
    text += '\n'.join(f' {name}{sign}{label} ' for name, label in ROWS)
    text += f'\n\n {sign} \n'
    path = tmp_path / 'train.csv'
    path.write_bytes(text.replace('\n', end).encode(coding))
    assert read_split_file(path) == ROWS


def test_a_list_of_a_spreadsheet_finds_its_files(tmp_path, make_image):
    for name in ('grün.png', 'b.png'):
        make_image(tmp_path / 'images' / name)
    text = 'filename;label\ngrün.png;n01\nb.png;n01\n'
    (tmp_path / 'train.csv').write_bytes(text.encode('cp1252'))
    dataset = MiniImageNet(str(tmp_path), pipeline=LOAD)
    assert dataset.get_data_info(0)['img_path'].endswith('grün.png')


@pytest.mark.parametrize('what', [*FOUND, 'a zip archive'])
def test_lists_that_are_none(tmp_path, what):
    (tmp_path / 'images').mkdir()
    path = tmp_path / 'train.csv'
    path.write_bytes(FOUND.get(what, b'PK\x03\x04xl/workbook.xml'))
    with pytest.raises(ValueError, match=r'train\.csv') as raised:
        MiniImageNet(str(tmp_path), pipeline=LOAD)
    assert what in str(raised.value)
