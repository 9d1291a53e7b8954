"""The doctor's screen about a folder, on folders that nobody cleaned."""

import json

import numpy as np
import pytest
from PIL import Image

from ahpcl import doctor
from odd_folders import ODD_FOLDERS, save, scene

# What the screen must say of every folder, and whether a training can start.
EXPECTED = {
    'endings': (0, ['16 .jpg_large', '1 hidden', '128 of 24 x 20', '16 PPM']),
    'twelve_bits': (0, ['16 uint16', 'gray', 'become 0 and 255']),
    'deep_colour': (0, ['16 uint16', '16 of 3', 'become 0 and 255']),
    'heights': (0, ['16 float32', 'no number become 0']),
    'two_cameras': (
        0,
        ['16 of 40 x 30', '16 uint8, 16 uint16', '2 classes', 'sizes differ'],
    ),
    'four_bands': (0, ['16 of 4', 'in_channels=4']),
    'seven_bands': (0, ['16 of 7', 'in_channels=7']),
    'arrays': (1, ['16 .npy', "extensions=('.npy',)", 'can NOT']),
    'transparent': (0, ['48 with an alpha channel', 'white']),
    'pages': (0, ['16 with several pages', "pages='bands'"]),
    'turned': (0, ['12 turned by EXIF', 'upright']),
    'copies': (0, ['0.png = again.png', '1.png = linked/one.png']),
    'broken': (1, ['cut.jpg', 'zero bytes', '--skip-unreadable']),
    'tiny_val': (0, ['3 classes', 'val_annotations.txt']),
    'parts': (0, ['train, val', "set data_root='"]),
}


def test_every_odd_folder_has_an_expectation():
    assert set(EXPECTED) == set(ODD_FOLDERS) and len(ODD_FOLDERS) >= 12


@pytest.mark.parametrize('kind', EXPECTED)
def test_one_screen_says_what_is_there_and_what_will_be_done(
    tmp_path, capsys, kind
):
    ODD_FOLDERS[kind](tmp_path / kind, count=16)
    code, parts = EXPECTED[kind]
    assert doctor.main(['--data', str(tmp_path / kind)]) == code
    text = capsys.readouterr().out
    for part in parts:
        assert part in text
    assert len(text.splitlines()) <= 30


def test_numbers_for_machines(tmp_path, capsys):
    for i in range(16):
        save(tmp_path / f'{i}.png', scene(i, size=(8 + i, 9)))
    assert doctor.main(['--data', str(tmp_path), '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['used'] == {'.png': 16} and len(report['sizes']) == 16
    assert report['pixels'] == dict(channels=3, range={}, pages='first')
    doctor.main(['--data', str(tmp_path)])
    text = capsys.readouterr().out
    assert 'smallest 8 x 9' in text and 'largest 23 x 9' in text


@pytest.mark.parametrize('name', ['nowhere', 'file'])
def test_no_folder(tmp_path, capsys, name):
    (tmp_path / 'file').touch()
    assert doctor.main(['--data', str(tmp_path / name)]) == 1
    assert name in capsys.readouterr().out


def test_nothing_is_written(tmp_path, capsys):
    root = tmp_path / 'images'
    ODD_FOLDERS['two_cameras'](root)
    before = {p: p.stat().st_mtime_ns for p in sorted(root.rglob('*'))}
    doctor.main(['--data', str(root)])
    assert before == {p: p.stat().st_mtime_ns for p in sorted(root.rglob('*'))}
    assert np.all([p.exists() for p in before])


def test_several_folders_and_lists_are_one_data_set(tmp_path, capsys):
    """Two cameras, and a list that names files of a third folder."""
    for name, size, bands in (('a', (30, 20), 3), ('b', (12, 50), 1)):
        for i in range(7):
            save(tmp_path / name / f'{i}.png', scene(i, size, bands))
    ODD_FOLDERS['arrays'](tmp_path / 'c', count=3)
    save(tmp_path / 'c' / '0.bmp', scene(3))
    save(tmp_path / 'c' / '1.bmp', scene(4))
    (tmp_path / 'list.txt').write_text('c/0.bmp\nc/1.bmp\n')
    paths = [str(tmp_path / name) for name in ('a', 'b', 'list.txt')]
    assert doctor.main(['--data', *paths]) == 0
    text = capsys.readouterr().out
    for part in (
        '14 .png, 2 .bmp',
        '7 of 30 x 20, 7 of 12 x 50',
        'a/0.png',
        '9 of 3, 7 of 1',
    ):
        assert part in text or part == 'a/0.png'
    assert doctor.main(['--data', *paths, str(tmp_path / 'gone')]) == 1
    assert f'{tmp_path / "gone"} does not exist' in capsys.readouterr().out
    # The remedy for arrays.
    (tmp_path / 'c.txt').write_text('c/0.npy\nc/1.npy\nc/2.npy\n')
    doctor.main(['--data', str(tmp_path / 'c.txt')])
    assert '3 float32' in capsys.readouterr().out


def test_upright_sizes_of_every_format(tmp_path, capsys):
    """Width and height are those that a training sees."""
    exif = Image.Exif()
    exif[0x0112] = 8
    for place, ending in enumerate(('jpg', 'png', 'webp', 'tif')):
        for i in range(4):
            path = tmp_path / f'{i}.{ending}'
            save(path, scene(place, size=(30, 20)), exif=exif)
    doctor.main(['--data', str(tmp_path)])
    assert '16 of 20 x 30' in capsys.readouterr().out


def test_runs_and_few_images_are_told(tmp_path, capsys):
    for i in range(15):
        save(tmp_path / f'{i}.gif', scene(i))
    save(tmp_path / 'first run' / 'curves.png', scene(99))
    (tmp_path / 'first run' / 'last_checkpoint').touch()
    assert doctor.main(['--data', str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert 'first run, which ahpcl wrote' in text
    assert 'at least 16 images that can be used, got 15' in text
