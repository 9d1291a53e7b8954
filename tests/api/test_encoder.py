"""An encoder by itself: features, whoever hands the images over and how."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import ahpcl
from ahpcl.evaluation.run_data import RunData


@pytest.fixture(scope='module')
def encoder(toy_run):
    return ahpcl.load(toy_run.work_dir, device='cpu')


@pytest.fixture(scope='module')
def run(toy_run):
    return RunData(
        Config.fromfile(toy_run.config), toy_run.checkpoint, device='cpu'
    )


@pytest.fixture(scope='module')
def pictures(run):
    """The first training images, (12, 16, 16, 3) uint8 RGB."""
    return np.stack([run.image(place) for place in range(12)])


@pytest.fixture
def folder(tmp_path, pictures):
    """The same in files: one in a folder of its own, and a text."""
    for place, pixels in enumerate(pictures):
        part = tmp_path / 'images' / ('deep' if place == 11 else '')
        part.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(part / f'{place:02d}.png')
    (tmp_path / 'images' / 'notes.txt').write_text('no image')
    return tmp_path / 'images'


def test_features_are_those_of_the_evaluation(encoder, run, pictures):
    features = encoder.embed(list(pictures))
    assert features.dtype == np.float32
    expected = run.training.features[:12].numpy()
    np.testing.assert_allclose(features, expected, atol=1e-5)
    keys = encoder.embed(list(pictures), space='prototypes')
    np.testing.assert_allclose(keys, run.training.keys[:12].numpy(), atol=1e-5)
    assert encoder.width == features.shape[1]


def test_whatever_holds_an_image_gives_the_same(encoder, pictures, folder):
    expected = encoder.embed(list(pictures))
    chw = pictures.transpose(0, 3, 1, 2)
    files = sorted(folder.glob('*.png')) + [folder / 'deep' / '11.png']
    for items in (
        pictures,
        chw,
        torch.from_numpy(chw.copy()),
        [Image.fromarray(p) for p in pictures],
        files,
        list(map(str, files)),
        folder,
        [folder],
        [str(files[0]), chw[1], Image.fromarray(pictures[2]), *files[3:]],
        (image for image in pictures),
    ):
        found = encoder.embed(items, batch_size=5)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    alpha = np.concatenate(
        [pictures, np.full((12, 16, 16, 1), 255, np.uint8)], axis=3
    )
    np.testing.assert_allclose(encoder.embed(alpha), expected, atol=1e-6)
    one = encoder.embed(pictures[0])
    np.testing.assert_allclose(one, expected[:1], atol=1e-6)
    grey = pictures[:, :, :, 0]  # the digits are grey
    found = encoder.embed(list(grey))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_rows_come_with_names_in_order(encoder, pictures, folder):
    made = encoder.embed([pictures[0], folder], return_names=True)
    assert made.names[0] == 'item 0'
    assert made.names[1] == str(folder / '00.png')
    assert made.names[-1] == str(folder / 'deep' / '11.png')
    assert len(made.names) == len(made.features) == 13


def test_images_of_another_size_are_brought_to_that_of_the_run(encoder):
    assert encoder.size == (16, 16)
    flat = np.full((40, 70, 3), 90, np.uint8)
    small = np.full((16, 16, 3), 90, np.uint8)
    np.testing.assert_allclose(
        encoder.embed(flat), encoder.embed(small), atol=1e-6
    )


@pytest.mark.parametrize(
    ('items', 'said'),
    [
        (np.zeros((16, 16, 3), np.float32), r'uint8.*float32.*\* 255'),
        (torch.zeros(3, 16, 16), r'uint8.*float32'),
        (np.zeros((3, 9, 3), np.uint8), r"layout='HWC' or layout='CHW'"),
        (np.zeros((16, 16, 7), np.uint8), '1, 3 or 4 channels'),
        (np.zeros((16,), np.uint8), r'\(H, W\)'),
        (np.zeros((16, 16, 3), np.uint16), 'uint16'),
        ([], 'at least one image'),
        ('nowhere.jpg', 'nowhere.jpg'),
        (17, 'int'),
    ],
)
def test_what_is_no_image_is_refused(encoder, items, said):
    with pytest.raises(ValueError, match=said):
        encoder.embed(items)


def test_a_layout_that_fits_both_is_asked_for(encoder):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, 9, 3), dtype=np.uint8)
    one = encoder.embed(image, layout='HWC')
    other = encoder.embed(image.transpose(2, 0, 1), layout='CHW')
    np.testing.assert_allclose(one, other, atol=1e-6)
    with pytest.raises(ValueError, match="'HWC' or 'CHW'"):
        encoder.embed(image, layout='hwc')


def test_a_file_that_is_no_image_is_named(encoder, folder):
    expected = encoder.embed(folder)
    (folder / '03b.png').write_bytes(b'not a picture')
    (folder / '04b.png').write_bytes((folder / '04.png').read_bytes()[:90])
    with pytest.raises(ValueError, match=r'03b\.png'):
        encoder.embed(folder)
    (folder / '03b.png').unlink()
    with pytest.raises(ValueError, match=r'04b\.png'):
        encoder.embed(folder)
    (folder / '03b.png').write_bytes(b'')
    with pytest.raises(ValueError, match='return_names=True'):
        encoder.embed(folder, on_unreadable='skip')
    made = encoder.embed(folder, on_unreadable='skip', return_names=True)
    np.testing.assert_allclose(made.features, expected, atol=1e-6)
    assert sorted(made.skipped) == [
        str(folder / '03b.png'),
        str(folder / '04b.png'),
    ]
    alone = folder / '03b.png'
    with pytest.raises(ValueError, match=r'none of 1.*03b\.png'):
        encoder.embed(alone, on_unreadable='skip', return_names=True)


def test_a_folder_without_images_is_refused(encoder, tmp_path):
    (tmp_path / 'notes.txt').write_text('no image')
    with pytest.raises(ValueError, match='expected images in'):
        encoder.embed(tmp_path)


def test_options_are_checked(encoder, pictures):
    with pytest.raises(ValueError, match="'features', 'prototypes'"):
        encoder.embed(pictures, space='keys')
    with pytest.raises(ValueError, match='batch_size'):
        encoder.embed(pictures, batch_size=0)
    with pytest.raises(ValueError, match="'raise' or 'skip'"):
        encoder.embed(pictures, on_unreadable='ignore')
