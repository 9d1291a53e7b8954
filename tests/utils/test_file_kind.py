import gzip
import pickle

import numpy as np
import pytest
from PIL import Image

from ahpcl.utils.file_kind import kind_of, read_text


def test_files_are_told_by_their_content(tmp_path):
    path = tmp_path / 'called.csv'
    made = {
        'a pickle': lambda: path.write_bytes(pickle.dumps([1])),
        'a zip archive': lambda: np.savez(path.open('wb'), a=1),
        'a gzip file': lambda: path.write_bytes(gzip.compress(b'a')),
        'a numpy array (.npy)': lambda: np.save(path.open('wb'), [1]),
        'a PNG image': lambda: Image.new('L', (2, 2)).save(path, 'PNG'),
        'a JPEG image': lambda: Image.new('L', (2, 2)).save(path, 'JPEG'),
        'text': lambda: path.write_text('a,b\n', 'utf-16'),
        'zeros': lambda: path.write_bytes(bytes(9)),
        'a file of an unknown kind': lambda: path.write_bytes(b'a\1\2'),
        'an XML file': lambda: path.write_text('<?xml version="1.0"?>'),
        'an empty file': lambda: path.write_bytes(b''),
    }
    for kind, write in made.items():
        write()
        assert kind_of(path) == kind


@pytest.mark.parametrize('coding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
def test_text_in_any_coding(tmp_path, coding):
    path = tmp_path / 'list.txt'
    path.write_bytes('grün\r\nb\rc\n'.encode(coding))
    assert read_text(path) == 'grün\nb\nc\n'


def test_other_bytes_stay(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_bytes(b'gr\xfcn\n')
    assert read_text(path) == 'gr\udcfcn\n'
    path.write_bytes(b'\xff\xfea\0b')  # half a letter of UTF-16
    with pytest.raises(ValueError, match=r'list\.txt.*utf-16'):
        read_text(path)
    path.write_bytes('a'.encode('utf-16-le') * 3)  # without its mark
    with pytest.raises(ValueError, match=r'list\.txt'):
        read_text(path)
    path.write_bytes(b'')
    assert read_text(path) == ''
