"""Depth and bands: what is read, chosen, said, cached and normalised."""

import random
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS
from PIL import Image

import ahpcl.utils.said as said_lines
from ahpcl.datasets import (
    LoadImageBGR,
    PixelFormat,
    UnlabelledFolder,
    fit_to_images,
    measure,
    read_image,
)
from ahpcl.models.features import check_view_shapes
from odd_folders import ODD_FOLDERS, scene, write_tiff

LOAD = dict(type='LoadImageBGR')
PACK = dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx'])


@pytest.fixture
def odd(tmp_path):
    def write(kind, **options):
        ODD_FOLDERS[kind](tmp_path / kind, **options)
        return tmp_path / kind

    return write


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(
        said_lines, 'print_log', lambda text, **_: lines.append(text)
    )
    monkeypatch.setattr(said_lines, '_said', WeakKeyDictionary())
    return lines


def folder(root, **options):
    return UnlabelledFolder(str(root), pipeline=[LOAD], **options)


# Depth.


def test_auto_shows_twelve_bits_and_says_what_it_took(odd, said):
    dataset = folder(odd('twelve_bits'))
    ((dtype, ((low, high),)),) = dataset.pixels.ranges
    assert dtype == 'uint16'
    assert 130 <= low < 200 and 1600 < high <= 1700  # not the hot pixel
    image = dataset[0]['img'][:, :, 0]
    assert len(np.unique(image)) > 200
    values = np.asarray(Image.open(dataset.get_data_info(0)['img_path']))
    expected = np.rint((values.astype(float) - low) / (high - low) * 255)
    np.testing.assert_array_equal(image, expected.clip(0, 255))
    line = next(text for text in said if 'uint16' in text)
    assert f'{low:g} to {high:g}' in line
    assert (
        len(np.unique(folder(odd('twelve_bits'), range='dtype')[0]['img']))
        < 20
    )


def test_one_range_for_all_images_so_that_brightness_compares(tmp_path):
    for name, high in (('dark', 500), ('bright', 4000)):
        values = scene(3, (50, 50), bands=1, low=0, high=high)
        Image.fromarray(values[:, :, 0].astype(np.uint16)).save(
            tmp_path / f'{name}.png'
        )
    dataset = folder(tmp_path)
    bright, dark = dataset[0]['img'].mean(), dataset[1]['img'].mean()
    assert bright / dark == pytest.approx(8, rel=0.1)


@pytest.mark.parametrize(
    ('option', 'expected'),
    [
        ((100, 1124), {'uint16': [100, 1124]}),
        ({'uint16': (0, 4095)}, {'uint16': [0, 4095]}),
        ('dtype', {'uint16': 'dtype'}),
    ],
)
def test_chosen_ranges(odd, option, expected):
    dataset = folder(odd('twelve_bits'), range=option)
    assert dataset.pixels.as_dict()['range'] == expected
    again = folder(odd('twelve_bits'), **dataset.pixels.as_dict())
    assert again.pixels == dataset.pixels


def test_percentiles_are_those_of_numpy(odd):
    root = odd('twelve_bits')
    dataset = folder(root, range=dict(percentiles=(10, 80)))
    values = np.stack(
        [np.asarray(Image.open(path)) for path in sorted(root.iterdir())]
    )
    low, high = np.percentile(values, (10, 80))
    assert dataset.pixels.as_dict()['range']['uint16'] == [
        np.floor(low),
        np.ceil(high),
    ]


def test_a_type_that_range_does_not_name_is_measured(odd, said):
    """Of two cameras one was chosen for: the other one is not black."""
    root = odd('two_cameras')
    dataset = folder(root, range=dict(float32=(0, 1), uint8=(0, 255)))
    (low, high) = dataset.pixels.as_dict()['range']['uint16']
    assert low < 400 and 3500 < high < 5000
    (line,) = [line for line in said if 'uint16' in line]
    assert 'range has none for it, only for float32, uint8' in line
    by_type = folder(root, range=dict(uint16='dtype'))
    assert by_type.pixels.as_dict()['range'] == dict(uint16='dtype')
    # But for a hot pixel.
    dark, usual = (np.median(d[-1]['img']) for d in (by_type, dataset))
    assert dark < 16 < 40 < usual
    with pytest.raises(ValueError, match=r"\(low, high\) or 'dtype'"):
        folder(root, range=dict(uint16='auto'))


@pytest.mark.parametrize(
    'option',
    ['full', (5,), (9, 9), {'uint12': (0, 4095)}, {'percentiles': (90, 10)}],
)
def test_ranges_that_are_none(odd, option):
    with pytest.raises(ValueError, match='expected'):
        folder(odd('twelve_bits'), range=option)


def test_one_pair_for_two_depths_is_refused_with_a_remedy(odd):
    root = odd('two_cameras')
    with pytest.raises(ValueError, match=r'range=dict\(uint8=.*uint16='):
        folder(root, range=(0, 4095))
    dataset = folder(root, range=dict(uint8=(0, 255), uint16=(0, 4095)))
    with Image.open(root / 'left' / '0.jpg') as image:
        np.testing.assert_array_equal(
            dataset[0]['img'][:, :, ::-1], np.asarray(image)
        )


def test_floats_with_holes(odd):
    dataset = folder(odd('heights'))
    image = dataset[0]['img']
    assert (image[:2, :2] == 0).all() and image.max() > 200
    with pytest.raises(ValueError, match="range='auto'"):
        folder(odd('heights'), range='dtype')


def test_colour_of_16_bits_keeps_them(odd, tmp_path):
    dataset = folder(odd('deep_colour'))
    image = dataset[0]['img']
    for channel in range(3):
        assert len(np.unique(image[:, :, channel])) > 100
    truth = cv2.imread(
        dataset.get_data_info(0)['img_path'], cv2.IMREAD_UNCHANGED
    )
    pair = image[..., 0].ravel(), truth[..., 0].ravel()
    assert np.corrcoef(*pair)[0, 1] > 0.999
    values = np.zeros((4, 6, 4), np.uint16)
    values[..., 0], values[:2, ..., 3] = 40000, 65535
    cv2.imwrite(str(tmp_path / 'a.png'), values)
    shown = read_image(tmp_path / 'a.png')
    np.testing.assert_array_equal(shown[0, 0], [0, 0, 156])
    np.testing.assert_array_equal(shown[3, 0], [255, 255, 255])


@pytest.mark.parametrize('orientation', range(1, 9))
def test_wide_files_are_turned_upright_like_others(tmp_path, orientation):
    pixels = np.rint(scene(1, (6, 4))).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / 'a.png', exif=exif)
    cv2.imwrite(
        str(tmp_path / 'b.png'), pixels[..., ::-1].astype(np.uint16) * 257
    )
    head, wide = ((tmp_path / n).read_bytes() for n in ('a.png', 'b.png'))
    start = head.index(b'eXIf') - 4 if b'eXIf' in head else 0
    if start:
        length = int.from_bytes(head[start : start + 4], 'big') + 12
        chunk = head[start : start + length]
        (tmp_path / 'b.png').write_bytes(wide[:33] + chunk + wide[33:])
    np.testing.assert_array_equal(
        read_image(tmp_path / 'b.png'), read_image(tmp_path / 'a.png')
    )


# Bands.


@pytest.mark.parametrize(
    ('kind', 'channels'), [('four_bands', 4), ('seven_bands', 7)]
)
def test_bands_are_bands(odd, said, kind, channels):
    dataset = folder(odd(kind))
    assert dataset.pixels.channels == channels
    assert dataset[0]['img'].shape[2] == channels
    if kind == 'four_bands':
        for i in range(4):
            expected = scene(i, bands=4).astype(np.uint8)
            np.testing.assert_array_equal(dataset[i]['img'], expected)
    else:  # every band has a range of its own, whatever its units
        spread = dataset[0]['img'].reshape(-1, channels).std(axis=0)
        assert (spread > 30).all()
    assert any(f'{channels} bands' in line for line in said)


def test_an_alpha_channel_is_laid_over_white_or_kept(odd, said):
    root = odd('transparent')
    dataset = folder(root)
    assert dataset.pixels == PixelFormat()
    assert any('9 images have an alpha channel' in line for line in said)
    expected = scene(0, bands=4)
    pixels = np.rint(expected)
    share = pixels[..., 3:] / 255
    over = pixels[..., :3] * share + 255 * (1 - share)
    np.testing.assert_allclose(dataset[0]['img'][..., ::-1], over, atol=1.5)
    kept = folder(root, channels=4)[0]['img']
    np.testing.assert_array_equal(kept, pixels)


def test_arrays_are_used_where_they_are_named(odd):
    root = odd('arrays')
    with pytest.raises(ValueError, match=r"extensions=\('\.npy',\)"):
        folder(root)
    dataset = folder(root, extensions=('.npy',))
    assert dataset[0]['img'].shape == (20, 24, 6)
    np.save(root / 'features.npy', np.zeros((3, 4, 5, 6)))
    with pytest.raises(ValueError, match=r'features\.npy: an array'):
        folder(root, extensions=('.npy',))


def test_pages_are_said_or_taken(odd, said):
    root = odd('pages')
    assert folder(root).pixels.channels == 3
    assert any("pages='bands'" in line for line in said)
    dataset = folder(root, pages='bands')
    assert dataset.pixels.channels == 5
    np.testing.assert_array_equal(
        dataset[2]['img'], np.rint(scene(2, bands=5)).astype(np.uint8)
    )


def test_frames_are_said(tmp_path, said):
    frames = [Image.new('RGB', (9, 9), colour) for colour in ('red', 'blue')]
    for ending in ('gif', 'webp', 'png'):
        path = tmp_path / f'a.{ending}'
        frames[0].save(path, save_all=True, append_images=frames[1:])
    dataset = folder(tmp_path, pages='bands')  # of a TIFF only
    assert dataset.pixels.channels == 3
    for name in ('GIF', 'WEBP', 'PNG'):
        assert any(f'1 {name} files have several' in line for line in said)


def test_mixed_bands_are_refused_with_a_remedy_that_works(odd, tmp_path):
    root = odd('four_bands')
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(root / 'colour.jpg')
    with pytest.raises(ValueError, match='channels=3'):
        folder(root)
    dataset = folder(root, channels=3)
    expected = scene(0, bands=4).astype(np.uint8)[..., :3]
    np.testing.assert_array_equal(dataset[0]['img'], expected[..., ::-1])
    with pytest.raises(ValueError, match=r'colour\.jpg: 3 bands'):
        folder(root, channels=4)
    assert len(folder(root, channels=4, on_unreadable='skip')) == 4


def test_colour_becomes_gray_where_asked(tmp_path, make_image, said):
    pixels = make_image(tmp_path / 'a.png')
    image = folder(tmp_path, channels=1)[0]['img']
    expected = pixels @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(image[:, :, 0], expected, atol=0.51)
    assert any('become gray' in line for line in said)


# The decoded cache.


def test_the_cache_holds_the_same_pixels_and_no_others(odd, tmp_path):
    root = odd('seven_bands')
    plain = folder(root)
    cached = folder(root, decoded_cache=str(tmp_path / 'cache'))
    assert cached.decoded is not None
    for i in range(len(plain)):
        np.testing.assert_array_equal(plain[i]['img'], cached[i]['img'])
    block, sizes = cached.image_block([2, 0])
    assert block.shape == (2, 7, 20, 24) and sizes is None
    np.testing.assert_array_equal(
        block[1].permute(1, 2, 0).numpy(), plain[0]['img']
    )
    with pytest.raises(ValueError, match='range'):
        folder(root, decoded_cache=str(tmp_path / 'cache'), range='dtype')


def test_reduced_bands_are_not_mixed(odd):
    dataset = folder(odd('four_bands'), decoded_max_side=6)
    whole = folder(odd('four_bands'))[0]['img']
    assert dataset[0]['img'].shape == (5, 6, 4)
    band = Image.fromarray(np.ascontiguousarray(whole[..., 3]))
    expected = np.asarray(band.resize((6, 5), Image.Resampling.BOX))
    np.testing.assert_array_equal(dataset[0]['img'][..., 3], expected)


# Transforms, preprocessor, encoder.

VIEW = [
    dict(type='RandomResizedCrop', size=12, backend='pillow'),
    dict(
        type='RandomApply',
        transforms=[
            dict(
                type='SafeColorJitter',
                brightness=0.4,
                contrast=0.4,
                saturation=0.4,
                hue=0.1,
            )
        ],
        prob=1.0,
    ),
    dict(type='RandomGrayscale', prob=1.0, keep_channels=True),
    dict(type='RandomGaussianBlur', sigma_min=0.1, sigma_max=2.0, prob=1.0),
    dict(type='RandomFlip', prob=1.0),
]
TWO_VIEWS = dict(type='SeededMultiView', views=[VIEW], num_views=[2])


@pytest.mark.parametrize('kind', ['four_bands', 'seven_bands'])
def test_the_pipeline_of_photographs_takes_any_bands(odd, said, kind):
    dataset = UnlabelledFolder(
        str(odd(kind)), pipeline=[LOAD, TWO_VIEWS, PACK]
    )
    views = dataset[0]['inputs']
    channels = dataset.pixels.channels
    assert [tuple(v.shape) for v in views] == [(channels, 12, 12)] * 2
    assert any('RandomGrayscale' in line and 'hue' in line for line in said)
    # The same draws in every band: equal bands stay equal.
    equal = np.repeat(np.rint(scene(5, bands=1)), channels, axis=2)
    done = dataset.pipeline(
        dict(img=equal.astype(np.uint8), img_path='', sample_idx=3)
    )
    for view in done['inputs']:
        assert view.float().std() > 0
        assert (view == view[:1]).all()


def test_one_band_as_a_gray_image(odd):
    """A single band is changed as Pillow changes a gray image."""
    dataset = UnlabelledFolder(
        str(odd('twelve_bits')), channels=1, pipeline=[LOAD, VIEW[0]]
    )
    alone = TRANSFORMS.build(VIEW[0])
    image = LoadImageBGR(pixels=dataset.pixels.as_dict())(
        dataset.get_data_info(0)
    )['img']
    random.seed(4)
    np.random.seed(4)
    found = dataset[0]['img']
    random.seed(4)
    np.random.seed(4)
    expected = alone(dict(img=image[:, :, 0]))['img']
    np.testing.assert_array_equal(found[:, :, 0], expected)


@pytest.mark.parametrize('channels', [1, 4, 6])
def test_views_on_the_device_take_any_bands(channels):
    views = MODELS.build(
        dict(
            type='DeviceViews',
            views=[VIEW],
            num_views=[2],
            mean=[10.0] * channels,
            std=[2.0] * channels,
            bgr_to_rgb=True,
        )
    )
    image = torch.from_numpy(
        np.repeat(np.rint(scene(2, bands=1)), channels, axis=2)
        .transpose(2, 0, 1)[None]
        .astype(np.uint8)
    )
    from mmengine.structures import InstanceData
    from mmselfsup.structures import SelfSupDataSample

    from ahpcl.datasets import SampleList

    samples = SampleList(torch.tensor([0]), SelfSupDataSample, InstanceData)
    made, _ = views(dict(inputs=[image], data_samples=samples), True)
    for view in made:
        assert view.shape == (1, channels, 12, 12)
        assert view.std() > 0
        torch.testing.assert_close(view, view[:, :1].expand_as(view))


def test_statistics_of_other_channels_are_refused():
    views = MODELS.build(
        dict(type='ViewPreprocessor', mean=[1.0, 2, 3, 4], std=[1.0] * 4)
    )
    image = torch.full((1, 4, 2, 2), 5.0)
    (done,), _ = views(dict(inputs=[image]))
    np.testing.assert_allclose(done[0, :, 0, 0], [4, 3, 2, 1])
    with pytest.raises(ValueError, match=r'in_channels=2'):
        views(dict(inputs=[image[:, :2]]))
    with pytest.raises(ValueError, match='as many channels'):
        MODELS.build(
            dict(type='ViewPreprocessor', mean=[1.0, 2], std=[1.0] * 3)
        )


def test_an_encoder_of_other_channels_is_refused_with_a_remedy():
    model = torch.nn.Module()
    model.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=r'in_channels=5.*channels=3'):
        check_view_shapes(model, [(5, 8, 8)])


def test_means_are_those_of_the_pixels(odd):
    dataset = folder(odd('four_bands'))
    paths = [dataset.get_data_info(i)['img_path'] for i in range(4)]
    mean, std = measure(paths, dataset.pixels)
    pixels = np.stack([dataset[i]['img'] for i in range(4)]).reshape(-1, 4)
    np.testing.assert_allclose(mean, pixels.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(std, pixels.std(axis=0), atol=1e-3)


# The config of a run.


def config(root, other):
    data = dict(type='UnlabelledFolder', data_root=str(root))
    return Config(
        dict(
            model=dict(
                backbone=dict(type='ResNet', depth=18),
                data_preprocessor=dict(mean=(1, 2, 3), std=(1, 2, 3)),
            ),
            train_dataloader=dict(dataset=dict(data)),
            custom_hooks=[dict(extract_dataloader=dict(dataset=dict(data)))],
            val_dataloader=dict(
                dataset=dict(
                    type='ConcatDataset',
                    datasets=[dict(data), dict(data, data_root=str(other))],
                )
            ),
        )
    )


def test_all_data_sets_of_a_run_get_the_numbers_of_training(odd, tmp_path):
    other = tmp_path / 'other'
    ODD_FOLDERS['twelve_bits'](other, high=3000)
    cfg = config(odd('twelve_bits'), other)
    pixels = fit_to_images(cfg)
    numbers = pixels.as_dict()
    parts = [
        cfg.train_dataloader.dataset,
        cfg.custom_hooks[0].extract_dataloader.dataset,
        *cfg.val_dataloader.dataset.datasets,
    ]
    for part in parts:
        assert part.range == numbers['range'] and part.channels == 3
    assert cfg.model.data_preprocessor.mean == (1, 2, 3)
    assert 'in_channels' not in cfg.model.backbone
    assert UnlabelledFolder(**{k: v for k, v in parts[-1].items()
                               if k != 'type'}).pixels == pixels  # fmt: skip


def test_the_encoder_fits_the_bands(odd):
    root = odd('four_bands')
    cfg = config(root, root)
    fit_to_images(cfg)
    assert cfg.model.backbone.in_channels == 4
    mean, std = measure(sorted(map(str, root.iterdir())), PixelFormat(4))
    assert cfg.model.data_preprocessor == dict(mean=mean, std=std)
    # The run's config is written as a file of Python.
    again = Config.fromstring(cfg.pretty_text, '.py')
    assert again.model.data_preprocessor.mean == mean
    given = config(root, root)
    given.model.data_preprocessor = dict(mean=[1, 2, 3, 4], std=[1] * 4)
    fit_to_images(given)
    assert given.model.data_preprocessor['mean'] == [1, 2, 3, 4]


def test_usual_images_change_nothing(tmp_path, make_image):
    make_image(tmp_path / 'a.png')
    cfg = config(tmp_path, tmp_path)
    before = cfg.to_dict()
    assert fit_to_images(cfg) == PixelFormat()
    assert cfg.to_dict() == before


def test_a_tiff_with_alpha_and_odd_layout(tmp_path):
    values = np.rint(scene(0, bands=2)).astype(np.uint8)
    write_tiff(tmp_path / 'a.tif', values, extra=[2], planar=True)
    shown = read_image(tmp_path / 'a.tif')
    share = values[..., 1] / 255
    expected = values[..., 0] * share + 255 * (1 - share)
    for channel in range(3):
        np.testing.assert_allclose(shown[..., channel], expected, atol=1)


def test_a_chosen_encoder_is_not_changed(odd):
    cfg = config(odd('four_bands'), odd('four_bands'))
    cfg.model.backbone.in_channels = 2
    fit_to_images(cfg)
    assert cfg.model.backbone.in_channels == 2  # refused when it trains


def test_data_sets_that_are_trained_on_together(odd):
    parts = [
        dict(type='UnlabelledFolder', data_root=str(odd(kind)))
        for kind in ('heights', 'twelve_bits', 'turned')
    ]
    cfg = config(odd('heights'), odd('heights'))
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=parts)
    pixels = fit_to_images(cfg)
    assert {dtype for dtype, _ in pixels.ranges} == {'float32', 'uint16'}
    for part in cfg.train_dataloader.dataset['datasets']:
        assert part['range'] == pixels.as_dict()['range']
    parts.append(dict(parts[0], data_root=str(odd('seven_bands'))))
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=parts)
    with pytest.raises(ValueError, match='channels=3'):
        fit_to_images(cfg)
