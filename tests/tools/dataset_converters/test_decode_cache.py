"""tools/dataset_converters/decode_cache.py from its command line."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ahpcl.datasets import decoded_cache_auto
from tools_modules import tool_modules
from toy import CONFIGS

CONFIG = str(CONFIGS / 'ahpcl_folder.py')


@pytest.fixture
def folder(tmp_path):
    source = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    for i in range(5):
        pixels = source.integers(0, 256, (6 + i, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'images' / f'{i}.png')
    return tmp_path / 'images'


@pytest.fixture
def tool():
    with tool_modules('dataset_converters', 'decode_cache') as modules:
        yield modules['decode_cache'].main


def test_build_inspect_and_verify(folder, tool, capsys, monkeypatch):
    home = folder.parent / 'home'
    monkeypatch.setenv('AHPCL_CACHE', str(home))
    options = [CONFIG, '--cfg-options', f'data_root={folder}']
    assert tool(options) == 0
    (pixels,) = home.glob('decoded/*/images-*')
    assert pixels.stat().st_size == sum(h * 9 * 3 for h in range(6, 11)) + 16
    said = capsys.readouterr().out
    assert re.search('height +6 to 10 px', said)
    assert "decoded_cache='auto'" in said
    assert tool([CONFIG, '--verify', *options[1:]]) == 0
    assert 'verified  5 images' in capsys.readouterr().out
    assert list(home.glob('decoded/*/images-*')) == [pixels]

    content = bytearray(pixels.read_bytes())
    content[7 * 9 * 3] ^= 1  # of the second image
    pixels.write_bytes(content)
    assert tool([CONFIG, '--verify', *options[1:]]) == 1
    assert re.search(r'pixels of \S*1\.png', capsys.readouterr().err)


def test_a_side_and_a_folder(folder, tool, capsys):
    where = folder.parent / 'elsewhere'
    options = ['--cfg-options', f'data_root={folder}']
    arguments = [CONFIG, '--max-side', '8', '--folder', str(where), '--verify']
    assert tool([*arguments, *options]) == 0
    said = capsys.readouterr().out
    assert 'decoded_max_side=8' in said
    assert re.search('width +7 to 8 px', said)
    assert len(list(where.glob('images-*'))) == 1


def test_what_it_refuses(folder, tool, capsys):
    assert tool([CONFIG, '--loader', 'train']) == 1
    assert "got 'train'; there are train_dataloader" in capsys.readouterr().err
    assert tool([str(CONFIGS / 'ahpcl_digits.py')]) == 1
    assert 'got Digits, whose images are in memory' in capsys.readouterr().err


def test_a_disk_without_room_is_an_error_with_a_remedy(
    folder, tool, capsys, monkeypatch
):
    monkeypatch.setattr(
        decoded_cache_auto.shutil,
        'disk_usage',
        lambda _: SimpleNamespace(free=100),
    )
    options = [CONFIG, '--cfg-options', f'data_root={folder}']
    assert tool(options) == 1
    assert '--folder' in capsys.readouterr().err
