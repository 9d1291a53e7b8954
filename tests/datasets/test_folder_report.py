"""The doctor's screen about a folder, on folders that nobody cleaned."""

import json

import numpy as np
import pytest

from ahpcl import doctor
from odd_folders import ODD_FOLDERS, save, scene

# What the screen must say of every folder, and whether a training can start.
EXPECTED = {
    'endings': (0, ['2 .jfif', '1 hidden', '16 of 24 x 20', '2 PPM']),
    'twelve_bits': (0, ['8 uint16', 'gray', 'become 0 and 255']),
    'deep_colour': (0, ['6 uint16', '6 of 3', 'become 0 and 255']),
    'heights': (0, ['6 float32', 'no number become 0']),
    'two_cameras': (
        0,
        ['4 of 40 x 30', '4 uint8, 4 uint16', '2 classes', 'sizes differ'],
    ),
    'four_bands': (0, ['4 of 4', 'in_channels=4']),
    'seven_bands': (0, ['6 of 7', 'in_channels=7']),
    'arrays': (1, ['5 .npy', "extensions=('.npy',)", 'can NOT']),
    'transparent': (0, ['9 with an alpha channel', 'white']),
    'pages': (0, ['3 with several pages', "pages='bands'"]),
    'turned': (0, ['3 turned by EXIF', 'upright']),
    'copies': (0, ['0.png = again.png', '1.png = linked/one.png']),
    'broken': (1, ['cut.jpg', 'zero bytes', "on_unreadable='skip'"]),
    'tiny_val': (0, ['3 classes', 'val_annotations.txt']),
    'parts': (0, ['train, val', "set data_root='"]),
}


def test_every_odd_folder_has_an_expectation():
    assert set(EXPECTED) == set(ODD_FOLDERS) and len(ODD_FOLDERS) >= 12


@pytest.mark.parametrize('kind', EXPECTED)
def test_one_screen_says_what_is_there_and_what_will_be_done(
    tmp_path, capsys, kind
):
    ODD_FOLDERS[kind](tmp_path / kind)
    code, parts = EXPECTED[kind]
    assert doctor.main(['--data', str(tmp_path / kind)]) == code
    text = capsys.readouterr().out
    for part in parts:
        assert part in text
    assert len(text.splitlines()) <= 30


def test_numbers_for_machines(tmp_path, capsys):
    for i in range(9):
        save(tmp_path / f'{i}.png', scene(i, size=(8 + i, 9)))
    assert doctor.main(['--data', str(tmp_path), '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['used'] == {'.png': 9} and len(report['sizes']) == 9
    assert report['pixels'] == dict(channels=3, range={}, pages='first')
    doctor.main(['--data', str(tmp_path)])
    text = capsys.readouterr().out
    assert 'smallest 8 x 9' in text and 'largest 16 x 9' in text


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
