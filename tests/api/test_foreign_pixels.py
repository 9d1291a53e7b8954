"""Images of another depth or other bands than those of a run."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import ahpcl
import ahpcl.api.foreign_pixels as foreign_pixels
from ahpcl.api.cluster_report import ClusteredImages
from odd_folders import ODD_FOLDERS, scene, write_tiff

onnx = pytest.importorskip('onnx')


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(
        foreign_pixels, 'print_log', lambda text, **_: lines.append(text)
    )
    return lines


@pytest.fixture(scope='module')
def photographs(toy_run):
    """A run on images of 8 bits."""
    return ahpcl.load(toy_run.work_dir, device='cpu')


@pytest.fixture(scope='module')
def bands(tmp_path_factory):
    """A run on five bands of 16 bits, and its images."""
    folder = tmp_path_factory.mktemp('bands')
    for place in range(16):
        values = scene(place, bands=5, low=100, high=5000).astype('>u2')
        write_tiff(folder / 'in' / f'{place}.tif', values, big_endian=True)
    options = {
        'model.backbone.base_channels': 8,
        'model.backbone.stem_channels': 8,
        'model.neck.in_channels': 32,
    }
    run = ahpcl.train(
        folder / 'in', folder / 'run', epochs=1, cfg_options=options
    )
    return folder / 'in', run


def gray(folder, dtype, low, high, count=6):
    """Images of one band; returns what their values are of low to high."""
    folder.mkdir()
    shares = []
    for place in range(count):
        share = scene(place, (32, 32), bands=1)[:, :, 0] / 255
        values = (low + share * (high - low)).astype(dtype)
        Image.fromarray(values).save(folder / f'{place}.tif')
        shares.append(share)
    return np.stack(shares)


@pytest.mark.parametrize(
    ('dtype', 'low', 'high'), [('<u2', 200, 1100), ('<f4', -3.0, 250.0)]
)
def test_a_depth_that_a_run_does_not_know(
    photographs, said, tmp_path, dtype, low, high
):
    shares = gray(tmp_path / 'x', dtype, low, high)
    found = photographs.embed(tmp_path / 'x')
    (line,) = said
    assert (
        line.startswith('images for ') and 'percentiles 0.1 and 99.9' in line
    )
    # The same pictures, of 8 bits.
    usual = np.rint(255 * shares).astype(np.uint8)
    expected = photographs.embed(np.repeat(usual[..., None], 3, axis=3))
    off = np.abs(found - expected).max()
    assert off < 0.1 * np.abs(expected).max() and np.ptp(found, axis=0).max()
    # By what the type may hold they would be black, one like the other.
    said.clear()
    photographs.embed([Image.fromarray(usual[0])])
    assert not said


def test_a_run_keeps_its_own_range_for_others(bands, said, tmp_path):
    _, run = bands
    encoder = ahpcl.load(run, device='cpu')
    for place in range(3):
        values = scene(place, bands=5, low=0, high=900).astype('<u2')
        write_tiff(tmp_path / 'dark' / f'{place}.tif', values)
    encoder.embed(tmp_path / 'dark')
    assert not said
    ((_, spans),) = encoder._features.pipeline.pixels.ranges
    assert len(spans) == 5 and min(high for _, high in spans) > 4000


def test_a_list_of_paths_is_read_where_a_folder_is(photographs, tmp_path):
    """Also of arrays, which a folder leaves out."""
    gray(tmp_path / 'x', 'u1', 0, 255, count=3)
    ODD_FOLDERS['arrays'](tmp_path / 'y', count=2)
    lines = ['x/2.tif', 'y/1.npy', 'x/0.tif']
    (tmp_path / 'some.txt').write_text('\n'.join(lines))
    found = photographs.embed(tmp_path / 'some.txt', return_names=True)
    assert found.names == tuple(str(tmp_path / line) for line in lines)
    with pytest.raises(ValueError, match='a text file that lists their'):
        photographs.embed(tmp_path / 'y')


def test_more_bands_than_those_of_a_run_are_said(photographs, said, tmp_path):
    ODD_FOLDERS['four_bands'](tmp_path / 'x', count=3)
    photographs.embed(tmp_path / 'x')
    assert said == [
        f'images for {photographs.files.path}: 3 images have more bands, 4 or '
        'more: the first 3 are taken'
    ]


def test_first_pages_are_said(photographs, said, tmp_path):
    ODD_FOLDERS['pages'](tmp_path / 'x', count=3)
    ODD_FOLDERS['twelve_bits'](tmp_path / 'y', count=2)
    photographs.embed([tmp_path / 'x', tmp_path / 'y'])
    assert [line.partition(': ')[2][:30] for line in said] == [
        '2 images of uint16, which beco',
        '3 TIFF files have several page',
    ]


def test_fewer_bands_are_refused(bands, tmp_path):
    ODD_FOLDERS['four_bands'](tmp_path / 'x', count=2)
    with pytest.raises(ValueError, match='4 bands, with channels=5'):
        ahpcl.load(bands[1], device='cpu').embed(tmp_path / 'x')


@pytest.mark.parametrize('encoder', ['torchvision:resnet18', 'timm:resnet18'])
def test_a_frozen_encoder_sees_the_images(encoder, said, tmp_path):
    if encoder.startswith('timm'):
        pytest.importorskip('timm')
    gray(tmp_path / 'x', '<u2', 500, 2400, count=12)
    found = ahpcl.cluster(
        tmp_path / 'x', encoder=encoder, weights='random', image_size=32
    )
    ((dtype, ((low, high),)),) = found.encoder._features.pipeline.pixels.ranges
    assert dtype == 'uint16' and low < 700 and 2200 < high <= 2400
    assert len(said) == 1
    found.save(tmp_path / 'out', report=False)
    # Whatever is shown later is read by the range of these images.
    later = ahpcl.load(tmp_path / 'out', device='cpu')
    gray(tmp_path / 'dark', '<u2', 500, 800, count=3)
    pipelines = [e._features.pipeline for e in (found.encoder, later)]
    assert pipelines[0].pixels == pipelines[1].pixels
    shown = ClusteredImages(
        found.hierarchy,
        torch.from_numpy(found.features),
        found.names,
        found.encoder.config,
        'frozen',
    )
    assert np.ptp(shown.image(3)) > 200  # no black thumbnail
    before = found.encoder.embed(tmp_path / 'dark')
    np.testing.assert_allclose(later.embed(tmp_path / 'dark'), before)
    assert len(said) == 1


def test_a_run_of_bands_says_what_it_is(bands):
    encoder = ahpcl.load(bands[1], device='cpu')
    assert encoder.channels == 5 and 'size=' in repr(encoder)


@pytest.mark.parametrize('preprocess', [False, True])
def test_bands_are_exported(bands, tmp_path, preprocess):
    runtime = pytest.importorskip('onnxruntime')
    folder, run = bands
    encoder = ahpcl.load(run, device='cpu')
    path = encoder.export(tmp_path / 'e.onnx', preprocess=preprocess)
    made = onnx.load(str(path))
    (told,) = [json.loads(p.value) for p in made.metadata_props]
    assert told['channels'] == 5 and len(told['range']['uint16']) == 5
    card = path.with_name('e.onnx.md').read_text('utf-8')
    assert 'uint16 from' in card and 'B, G, R' not in card
    shape = 'width, 5)' if preprocess else '(batch, 5,'
    assert shape in card
    listed = sorted(folder.iterdir())
    pipeline = encoder._features.pipeline
    items = [foreign_pixels.ImageItem(str(p), p) for p in listed]
    pixels = torch.stack([pipeline(item) for item in items])
    given = pixels.permute(0, 2, 3, 1)
    if not preprocess:
        given = encoder.parts.normalise(pixels)
    session = runtime.InferenceSession(str(path))
    (name,) = [node.name for node in session.get_inputs()]
    (features,) = session.run(None, {name: given.contiguous().numpy()})
    expected = encoder.embed(listed)
    np.testing.assert_allclose(features, expected, atol=1e-3)


def test_a_range_by_type_stays_one(tmp_path):
    """Chosen for the training, it holds for what is read later."""
    ODD_FOLDERS['twelve_bits'](tmp_path / 'in', count=16)
    run = ahpcl.train(
        tmp_path / 'in',
        tmp_path / 'run',
        epochs=1,
        cfg_options={'train_dataloader.dataset.range': 'dtype'},
    )
    config = run.config.read_text('utf-8')
    assert config.count("uint16='dtype'") >= 2
    pipeline = ahpcl.load(run, device='cpu')._features.pipeline
    assert pipeline.pixels.ranges == (('uint16', ()),)


def test_very_large_images_of_a_run(tmp_path, monkeypatch):
    """A variable of the config admits them, then and later, anywhere."""
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 2000)
    for place in range(16):
        pixels = scene(place, (110, 60)).astype(np.uint8)
        (tmp_path / 'in').mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / 'in' / f'{place}.bmp')
    with pytest.raises(ValueError, match='max_pixels=6600'):
        ahpcl.train(tmp_path / 'in', tmp_path / 'run', epochs=1)
    run = ahpcl.train(
        tmp_path / 'in',
        tmp_path / 'run',
        epochs=1,
        cfg_options=dict(max_pixels=6600),
    )
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 2000)
    encoder = ahpcl.load(run, device='cpu')
    assert encoder.embed(tmp_path / 'in').shape[0] == 16
    path = encoder.export(tmp_path / 'e.safetensors')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 2000)
    portable = ahpcl.load(path, device='cpu')
    assert portable.embed(tmp_path / 'in').shape[0] == 16


def test_a_name_that_begins_with_a_tilde(photographs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gray(tmp_path / '~nobody, here', 'u1', 0, 255, count=2)
    assert photographs.embed('~nobody, here').shape[0] == 2
    assert photographs.embed('~nobody, here/0.tif').shape[0] == 1
    with pytest.raises(ValueError, match='got ~nobody, which does not exist'):
        ahpcl.load('~nobody')
