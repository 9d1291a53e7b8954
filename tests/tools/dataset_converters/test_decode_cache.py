"""tools/dataset_converters/decode_cache.py from its command line."""

import re

import numpy as np
import pytest
from PIL import Image

from tools_modules import tool_modules
from toy import CONFIGS

CONFIG = str(CONFIGS / 'ahpcl_folder.py')


@pytest.fixture
def folder(tmp_path):
    source = np.random.default_rng(0)
    for i in range(5):
        pixels = source.integers(0, 256, (6 + i, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{i}.png')
    return tmp_path


@pytest.fixture
def tool():
    with tool_modules('dataset_converters', 'decode_cache') as modules:
        yield modules['decode_cache'].main


def test_build_inspect_and_verify(folder, tool, capsys):
    options = [CONFIG, '--cfg-options', f'data_root={folder}']
    assert tool(options) == 0
    (pixels,) = (folder / '.decoded').glob('*/images-*')
    assert pixels.stat().st_size == sum(h * 9 * 3 for h in range(6, 11)) + 16
    said = capsys.readouterr().out
    assert re.search('height +6 to 10 px', said)
    assert "decoded_cache='auto'" in said
    assert tool([CONFIG, '--verify', *options[1:]]) == 0
    assert 'verified  5 images' in capsys.readouterr().out
    assert list((folder / '.decoded').glob('*/images-*')) == [pixels]

    content = bytearray(pixels.read_bytes())
    content[7 * 9 * 3] ^= 1  # of the second image
    pixels.write_bytes(content)
    assert tool([CONFIG, '--verify', *options[1:]]) == 1
    assert re.search(r'pixels of \S*1\.png', capsys.readouterr().err)


def test_a_side_and_a_folder(folder, tool, capsys):
    where = folder / 'elsewhere'
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
