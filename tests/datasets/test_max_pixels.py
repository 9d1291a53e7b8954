"""Images that Pillow takes for a trap, admitted by an option."""

import pickle

import pytest
from mmengine.config import Config
from PIL import Image

from ahpcl.cli import arguments
from ahpcl.datasets import UnlabelledFolder, read_rgb
from toy import CONFIGS

LIMIT = 1000  # instead of 89 million: twice as many are refused


@pytest.fixture(autouse=True)
def small_limit(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', LIMIT)


@pytest.fixture
def folder(tmp_path, make_image):
    make_image(tmp_path / 'slides' / 'small.png')
    make_image(tmp_path / 'slides' / 'scan.tif', size=(60, 50))
    make_image(tmp_path / 'slides' / 'ohne', size=(70, 50), format='PNG')
    return tmp_path / 'slides'


def test_the_remedy_is_named_with_the_number(folder):
    with pytest.raises(ValueError) as error:
        UnlabelledFolder(str(folder))
    # Also of a file without an ending, which would be left out else.
    for pixels in (3000, 3500):
        assert f'max_pixels={pixels}' in str(error.value)
    with pytest.raises(ValueError, match='max_pixels=3000'):
        read_rgb(folder / 'scan.tif')


def test_the_option_admits_them(folder):
    dataset = UnlabelledFolder(str(folder), max_pixels=3500)
    assert len(dataset) == 3
    sizes = [
        read_rgb(i['img_path']).shape[:2]
        for i in map(dataset.get_data_info, range(3))
    ]
    assert sorted(sizes) == [(6, 8), (50, 60), (50, 70)]
    # A worker that was spawned begins with Pillow's limit.
    packed = pickle.dumps(dataset)
    Image.MAX_IMAGE_PIXELS = LIMIT
    pickle.loads(packed)
    assert Image.MAX_IMAGE_PIXELS == 3500
    # Less than that takes nothing back from another data set.
    UnlabelledFolder(str(folder), max_pixels=10)
    assert Image.MAX_IMAGE_PIXELS == 3500


def test_no_number_of_pixels(folder):
    with pytest.raises(ValueError, match='got 0'):
        UnlabelledFolder(str(folder), max_pixels=0)


def test_one_option_reaches_every_loader():
    config = Config.fromfile(CONFIGS / 'ahpcl_folder.py')
    arguments.apply_options(config, dict(max_pixels=2e8))
    assert config.train_dataloader.dataset.max_pixels == 2e8
    (hook,) = config.custom_hooks
    assert hook.extract_dataloader.dataset.max_pixels == 2e8
