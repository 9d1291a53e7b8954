"""Augmentation on the device against the pipelines on the CPU."""

import math

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from PIL import Image
from scipy.stats import ks_2samp, kstest

from ahpcl.datasets import Digits, UnlabelledFolder, collate_batches
from ahpcl.models import device_views
from ahpcl.models.device_resample import resized_crops
from ahpcl.models.device_transforms import (
    NoCounterpartError,
    compose,
    crop_boxes,
    on_device,
)
from ahpcl.models.device_views import DeviceViews
from ahpcl.models.sample_draws import SampleDraws
from toy import CONFIGS

pytest.importorskip('kornia')
MOCO = Config.fromfile(CONFIGS / '_base_/datasets/mini_imagenet.py')
VIEW = [dict(t) for t in MOCO.data.view_pipeline]


def pictures(n=1, height=40, width=52, seed=0):
    """Smooth colour pictures, uint8 (n, H, W, 3)."""
    source = np.random.default_rng(seed)
    small = source.integers(0, 256, (n, 7, 9, 3), dtype=np.uint8)
    return np.stack(
        [
            np.asarray(Image.fromarray(p).resize((width, height), 3))
            for p in small
        ]
    )


def as_batch(images):
    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2)


def sizes_of(batch):
    return torch.tensor([batch.shape[-2:]]).expand(len(batch), 2)


def draws(n, seed=0, epoch=0, view=0):
    return SampleDraws(seed, epoch, torch.arange(n), view)


# ---- draws ------------------------------------------------------------------


def test_numbers_are_uniform_and_independent():
    found = draws(4000).uniform(6)
    for column in found.T:
        assert kstest(column.numpy(), 'uniform').pvalue > 1e-3
    corner = torch.corrcoef(found.T).fill_diagonal_(0).abs().max()
    assert corner < 0.08
    for other in (
        draws(4000, seed=1),
        draws(4000, epoch=1),
        draws(4000, view=1),
    ):
        both = torch.stack([found[:, 0], other.uniform(1)[:, 0]])
        assert abs(torch.corrcoef(both)[0, 1]) < 0.08


def test_a_sample_gets_the_same_in_any_batch():
    everything = draws(50)
    some = SampleDraws(0, 0, torch.tensor([7, 3]), 0)
    for count in (3, 1, 5):
        one, other = everything.uniform(count), some.uniform(count)
        assert torch.equal(one[[7, 3]], other)


# ---- every transform with the same parameters -------------------------------


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('box', [(3, 5, 31, 40), (0, 0, 40, 52), (9, 9, 6, 5)])
def test_a_crop_is_resized_as_pillow_does(interpolation, box):
    image = pictures()[0]
    top, left, height, width = box
    kind = {'bilinear': 2, 'bicubic': 3}[interpolation]
    expected = np.asarray(
        Image.fromarray(image[top : top + height, left : left + width]).resize(
            (20, 24), kind
        )
    )
    found = resized_crops(
        as_batch(image[None]),
        torch.tensor([box]),
        (24, 20),
        interpolation=interpolation,
    )
    difference = (found[0].permute(1, 2, 0).numpy() - expected).__abs__()
    assert difference.max() <= 1
    assert difference.mean() < 0.05


def test_a_crop_is_resized_as_opencv_does():
    import cv2

    image = pictures()[0]
    expected = cv2.resize(image[3:34, 5:45], (20, 24))
    found = resized_crops(
        as_batch(image[None]),
        torch.tensor([[3, 5, 31, 40]]),
        (24, 20),
        antialias=False,
    )
    difference = np.abs(found[0].permute(1, 2, 0).numpy() - expected)
    assert difference.max() <= 1


def test_chunks_change_nothing(monkeypatch):
    import ahpcl.models.device_resample as resample

    batch = as_batch(pictures(9))
    boxes = crop_boxes(sizes_of(batch), draws(9), (0.2, 1), (0.75, 4 / 3))
    whole = resized_crops(batch, boxes, (16, 16))
    monkeypatch.setattr(resample, '_BUDGET', 1)
    assert torch.equal(resized_crops(batch, boxes, (16, 16)), whole)


def forced(config, images, seeds):
    """A pipeline's transform on many images, each with its own draws."""
    import random

    transform = TRANSFORMS.build(config)
    found = []
    for image, seed in zip(images, seeds, strict=True):
        np.random.seed(seed)
        random.seed(seed)
        found.append(transform(dict(img=image.copy()))['img'])
    return np.stack(found)


class Given:
    """Draws that were decided elsewhere, in the order they are asked for."""

    def __init__(self, *values):
        self._values = list(values)

    def uniform(self, count, low=0.0, high=1.0):
        return self._values.pop(0)

    def chance(self, probability):
        return self._values.pop(0)


@pytest.mark.parametrize('which', range(4))
def test_every_colour_change_is_pillows(which):
    images = pictures(24)
    names = ('brightness', 'contrast', 'saturation', 'hue')
    limits = {names[which]: 0.4}
    jitter = TRANSFORMS.build(dict(type='SafeColorJitter', **limits))
    values, orders = [], []
    expected = []
    for number, image in enumerate(images):
        np.random.seed(number)
        orders.append(np.random.permutation(4))
        for place in range(4):
            if place == which:
                low, high = (-0.4, 0.4) if which == 3 else (0.6, 1.4)
                values.append(np.random.uniform(low, high))
        np.random.seed(number)
        expected.append(jitter(dict(img=image.copy()))['img'])
    ranks = torch.zeros(len(images), 4, dtype=torch.float64)
    for row, order in enumerate(orders):
        ranks[row, torch.from_numpy(order)] = torch.arange(4).double()
    value = torch.tensor(values, dtype=torch.float64)[:, None]
    one = torch.ones(len(images), 1, dtype=torch.float64)
    factors = [value if place == which else one for place in range(3)]
    given = Given(ranks, *factors, value if which == 3 else 0 * one)
    batch = as_batch(images).float()
    found = on_device(jitter)(batch, sizes_of(batch), given)
    found = found.permute(0, 2, 3, 1).numpy()
    difference = np.abs(found - np.stack(expected))
    # Pillow's hue has 8 bits of each of hue, saturation and value.
    assert difference.max() <= (12 if which == 3 else 1)
    assert difference.mean() < (1.2 if which == 3 else 0.6)
    assert np.abs(found - images).mean() > 3


def test_gray_blur_solarize_flip_and_rotation_are_the_pipelines():
    images = pictures(6, 48, 48)
    batch = as_batch(images).float()
    always = torch.ones(6, dtype=torch.bool)

    def both(config, *given):
        transform = TRANSFORMS.build(config)
        found = on_device(transform)(batch, sizes_of(batch), Given(*given))
        expected = forced(config, images, range(6))
        return np.abs(found.permute(0, 2, 3, 1).numpy() - expected)

    gray = dict(VIEW[2], prob=1.0)
    assert both(gray, always).max() <= 1
    flip = dict(type='RandomFlip', prob=1.0)
    assert both(flip, always).max() == 0
    solarize = dict(type='mmselfsup.RandomSolarize', prob=1.0)
    assert both(solarize, always).max() == 0
    # Pillow's blur is three boxes, not a Gaussian.
    blur = dict(
        type='mmselfsup.RandomGaussianBlur',
        sigma_min=1.3,
        sigma_max=1.3001,
        prob=1.0,
    )
    sigma = torch.full((6, 1), 1.3, dtype=torch.float64)
    assert both(blur, always, sigma).max() <= 4
    for negative in (0.0, 1.0):
        rotate = dict(
            type='mmcls.Rotate',
            angle=15.0,
            pad_val=0,
            prob=1.0,
            random_negative_prob=negative,
        )
        turned = torch.full((6,), negative > 0)
        difference = both(rotate, always, turned)
        # Nearest pixels: a few at half-way places are the next ones.
        assert (difference > 2).mean() < 0.02


# ---- the same distribution --------------------------------------------------


def test_boxes_are_distributed_as_the_hosts():
    transform = TRANSFORMS.build(
        dict(type='mmselfsup.RandomResizedCrop', size=16, scale=(0.2, 1.0))
    )
    import random

    random.seed(0)
    host = []
    image = np.zeros((40, 52, 3), np.uint8)
    for _ in range(4000):
        top, left, bottom, right = transform.get_params(
            image, transform.scale, transform.ratio
        )
        host.append((top, left, bottom - top + 1, right - left + 1))
    host = np.array(host)
    sizes = torch.tensor([[40, 52]]).expand(4000, 2)
    ours = crop_boxes(sizes, draws(4000), (0.2, 1.0), (3 / 4, 4 / 3)).numpy()
    assert (ours[:, 0] + ours[:, 2] <= 40).all()
    assert (ours[:, 1] + ours[:, 3] <= 52).all()
    for quantity in (
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0] / np.maximum(1, 40 - b[:, 2]),
        lambda b: b[:, 1] / np.maximum(1, 52 - b[:, 3]),
    ):
        assert ks_2samp(quantity(host), quantity(ours)).pvalue > 1e-3


def test_a_box_that_never_fits_is_the_central_one():
    sizes = torch.tensor([[10, 100], [100, 10], [30, 30]])
    boxes = crop_boxes(sizes, draws(3), (2.0, 3.0), (3 / 4, 4 / 3))
    assert boxes.tolist() == [[0, 43, 10, 13], [43, 0, 13, 10], [0, 0, 30, 30]]


def test_views_have_the_moments_of_the_cpu_pipeline():
    images = pictures(1, 64, 64, seed=3).repeat(1500, 0)
    view = [dict(VIEW[0], size=24), *VIEW[1:]]
    transforms = [TRANSFORMS.build(t) for t in _scoped(view)]
    import random

    np.random.seed(0)
    random.seed(0)
    host = []
    for image in images:
        results = dict(img=image.copy())
        for transform in transforms:
            results = transform(results)
        host.append(results['img'])
    host = torch.from_numpy(np.stack(host)).permute(0, 3, 1, 2).float()
    batch = as_batch(images)
    ours = compose(transforms)(batch, sizes_of(batch), draws(1500))
    # Standard errors of the means over 1,500 views, and then some.
    spread = host.mean(dim=(2, 3)).std(dim=0)
    error = spread / math.sqrt(1500)
    gap = (host.mean(dim=(0, 2, 3)) - ours.mean(dim=(0, 2, 3))).abs()
    assert (gap < 5 * error).all(), (gap, error)
    assert torch.allclose(
        host.std(dim=(0, 2, 3)), ours.std(dim=(0, 2, 3)), rtol=0.04
    )
    pixels = host.std(dim=0) / math.sqrt(1500)
    gap = (host.mean(dim=0) - ours.mean(dim=0)).abs()
    assert (gap < 6 * pixels + 0.5).all()
    # Within a view too: contrast of neighbours falls by the same blur.
    for one in (host, ours):
        one -= one.mean(dim=(2, 3), keepdim=True)
    rough = [(v[..., 1:] - v[..., :-1]).abs().mean() for v in (host, ours)]
    assert rough[0] == pytest.approx(float(rough[1]), rel=0.05)
    flips = [
        ks_2samp(
            (host[:, c, :, :12].mean((1, 2))).numpy(),
            (ours[:, c, :, :12].mean((1, 2))).numpy(),
        ).pvalue
        for c in range(3)
    ]
    assert min(flips) > 1e-3


def _scoped(view):
    found = []
    for config in view:
        config = dict(config)
        name = config['type']
        if name in ('RandomResizedCrop', 'RandomGaussianBlur'):
            config['type'] = f'mmselfsup.{name}'
        found.append(config)
    return found


# ---- the preprocessor -------------------------------------------------------

LOAD = dict(type='LoadImageBGR')
PACK = dict(type='PackSelfSupInputs', algorithm_keys=['sample_idx'])


CROPS = [
    [
        dict(type='mmselfsup.RandomResizedCrop', size=12, backend='pillow'),
        dict(type='SafeColorJitter', brightness=0.4),
    ]
]


def digits(limit=24):
    return Digits(img_size=16, limit=limit, pipeline=[LOAD, PACK])


def maker(views=CROPS, num_views=2):
    return DeviceViews(
        views,
        num_views,
        mean=(120.0,) * 3,
        std=(60.0,) * 3,
        bgr_to_rgb=True,
    )


def views_of(preprocessor, dataset, places):
    batch = collate_batches(dataset.__getitems__(places))
    return preprocessor(batch, True)[0]


def test_a_view_belongs_to_its_sample():
    dataset = digits()
    views = maker()
    one = views_of(views, dataset, list(range(24)))
    assert [tuple(v.shape) for v in one] == [(24, 3, 12, 12)] * 2
    assert one[0].dtype == torch.float32
    some = views_of(views, dataset, [20, 5, 11])
    for whole, part in zip(one, some, strict=True):
        assert torch.allclose(whole[[20, 5, 11]], part, atol=1e-5)
    assert not torch.equal(one[0], one[1])
    views.set_epoch(1, 0)
    later = views_of(views, dataset, list(range(24)))
    views.set_epoch(0, 7)
    seeded = views_of(views, dataset, list(range(24)))
    views.set_epoch(0, 0)
    again = views_of(views, dataset, list(range(24)))
    assert torch.equal(again[0], one[0])
    for other in (later, seeded):
        assert (other[0] - one[0]).abs().mean() > 0.02


@pytest.mark.parametrize(
    'step',
    [
        dict(type='SafeColorJitter', brightness=0.4, hue=0.1),
        dict(VIEW[2], prob=1.0),
        dict(type='mmcls.Rotate', angle=15.0, pad_val=0, prob=1.0),
        dict(type='mmselfsup.RandomSolarize', prob=1.0),
        dict(type='mmselfsup.RandomGaussianBlur', sigma_min=1, sigma_max=2),
        dict(type='ChannelMix'),
    ],
    ids=lambda step: step['type'].split('.')[-1],
)
def test_a_view_may_begin_with_any_transform(step):
    """Images come as bytes, and a crop is not always the first."""
    images = as_batch(pictures(4))
    make = compose([TRANSFORMS.build(step)])
    found = make(images, sizes_of(images), draws(4))
    wanted = make(images.float(), sizes_of(images), draws(4))
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)
    assert not torch.equal(found, images.float())


def test_views_are_numbered_through_all_pipelines():
    """View by view: the draws of (seed, epoch, sample, number)."""
    dataset = digits()
    small = [dict(type='mmselfsup.RandomResizedCrop', size=6)]
    views = maker([*CROPS, small], [2, 1])
    found = views_of(views, dataset, [4, 9])
    images = torch.stack([dataset[i]['inputs'][0] for i in (4, 9)])
    for number, (view, steps) in enumerate(
        zip(found, [CROPS[0], CROPS[0], small], strict=True)
    ):
        make = compose([TRANSFORMS.build(step) for step in steps])
        given = SampleDraws(0, 0, torch.tensor([4, 9]), number)
        expected = make(images, sizes_of(images), given)
        assert torch.equal(view, (expected.flip(1) - 120) / 60)


def test_wrong_batches_and_settings_are_named():
    batch = collate_batches(digits().__getitems__([1, 2]))
    with pytest.raises(ValueError, match=r'num_views=\[1, 2\]'):
        DeviceViews(CROPS, [1, 2])
    with pytest.raises(ValueError, match='expected views for DeviceViews'):
        DeviceViews()(batch, True)
    with pytest.raises(ValueError, match='got 2 views; take SeededMultiView'):
        maker()(dict(batch, inputs=batch['inputs'] * 2), True)
    with pytest.raises(ValueError, match='sample_idx'):
        maker()(dict(inputs=batch['inputs']), True)
    with pytest.raises(ValueError, match='collate_batches'):
        maker()([batch], True)
    # A model that is not trained takes images without views.
    assert DeviceViews()(batch, False)[0][0].shape == (2, 3, 16, 16)


def test_other_batches_are_the_parents():
    views = maker()
    image = torch.randint(0, 256, (2, 3, 16, 16)).byte()
    batch = dict(inputs=[image], data_samples=[None, None])
    found = views(batch, False)[0]
    expected = (image.flip(1).float() - 120) / 60
    assert torch.allclose(found[0], expected)


CROP = dict(type='mmselfsup.RandomResizedCrop', size=8)


@pytest.mark.parametrize(
    ('step', 'named'),
    [
        (dict(type='mmcls.Posterize', bits=4, prob=0.5), 'got Posterize'),
        (dict(CROP, interpolation='nearest'), "got 'nearest'"),
        (
            dict(type='RandomApply', transforms=[CROP], prob=1.0),
            'got RandomResizedCrop',
        ),
        (dict(type='mmcls.Rotate', angle=9.0, pad_val=3), 'pad_val=3'),
    ],
)
def test_a_transform_without_counterpart_is_named(step, named):
    with pytest.raises(NoCounterpartError, match=named):
        compose([TRANSFORMS.build(step)])


def pipeline_views(views, num_views, dataset, places, epoch, seed):
    """What the data set makes, normalised as `maker` does."""
    load, pack = dataset.pipeline.transforms
    make = TRANSFORMS.build(
        dict(type='SeededMultiView', views=views, num_views=num_views)
    )
    make.set_epoch(epoch, seed)
    rows = [
        pack(make(load(dataset.get_data_info(place))))['inputs']
        for place in places
    ]
    return [
        (torch.stack(view).flip(1).float() - 120) / 60
        for view in zip(*rows, strict=True)
    ]


def test_without_counterpart_the_views_are_the_pipelines(monkeypatch):
    lines = []
    monkeypatch.setattr(
        device_views, 'print_log', lambda text, **_: lines.append(text)
    )
    views = [
        [*CROPS[0], dict(type='mmcls.Posterize', bits=4, prob=0.5)],
        [dict(type='mmselfsup.RandomResizedCrop', size=6)],
    ]
    made = maker(views, [2, 1])
    assert made.falls_back and made.num_views == 3
    (line,) = lines
    assert 'got Posterize' in line and 'on the CPU' in line
    dataset, places = digits(), [7, 3, 11]
    for epoch, seed in ((0, 0), (4, 9)):
        made.set_epoch(epoch, seed)
        state = np.random.get_state()[1].copy()
        found = views_of(made, dataset, places)
        expected = pipeline_views(views, [2, 1], dataset, places, epoch, seed)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)
        assert (np.random.get_state()[1] == state).all()


def test_on_the_cpu_images_of_several_sizes_use_their_own_pixels(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(device_views, 'print_log', lambda *_, **__: None)
    for number, size in enumerate([(40, 30), (20, 50)]):
        pixels = pictures(1, *size, seed=number)[0]
        Image.fromarray(pixels).save(tmp_path / f'{number}.png')
    dataset = UnlabelledFolder(str(tmp_path), pipeline=[LOAD, PACK])
    views = [[*CROPS[0], dict(type='mmcls.Posterize', bits=4, prob=0.5)]]
    found = views_of(maker(views), dataset, [0, 1])
    expected = pipeline_views(views, 2, dataset, [0, 1], 0, 0)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize('falls_back', [False, True])
def test_views_of_several_sizes_need_a_crop(falls_back, tmp_path, monkeypatch):
    monkeypatch.setattr(device_views, 'print_log', lambda *_, **__: None)
    for number, size in enumerate([(40, 30), (20, 50)]):
        pixels = pictures(1, *size, seed=number)[0]
        Image.fromarray(pixels).save(tmp_path / f'{number}.png')
    dataset = UnlabelledFolder(str(tmp_path), pipeline=[LOAD, PACK])
    views = [[dict(type='RandomFlip', prob=0.5)]]
    if falls_back:
        views[0].append(dict(type='mmcls.Posterize', bits=4, prob=0.5))
    with pytest.raises(ValueError, match='RandomResizedCrop'):
        views_of(maker(views), dataset, [0, 1])
    views[0].insert(0, CROP)
    assert views_of(maker(views), dataset, [0, 1])[0].shape == (2, 3, 8, 8)


def test_without_kornia_the_command_for_it_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'kornia', None)
    blur = TRANSFORMS.build(
        dict(type='mmselfsup.RandomGaussianBlur', sigma_min=0.1, sigma_max=2)
    )
    with pytest.raises(ImportError, match='pip install kornia'):
        on_device(blur)


def test_images_of_several_sizes_use_their_own_pixels_only():
    pixels = as_batch(pictures(2, 30, 30))
    padded = torch.full((2, 3, 40, 44), 255, dtype=torch.uint8)
    padded[:, :, :30, :30] = pixels
    sizes = torch.tensor([[30, 30], [30, 30]])
    crop = TRANSFORMS.build(
        dict(type='mmselfsup.RandomResizedCrop', size=16, backend='pillow')
    )
    one = compose([crop])(pixels, sizes_of(pixels), draws(2))
    two = compose([crop])(padded, sizes, draws(2))
    assert torch.allclose(one, two, atol=1e-3)


def test_autocast_changes_nothing():
    dataset = digits()
    views = maker()
    plain = views_of(views, dataset, [1, 2, 3])
    with torch.autocast('cpu', torch.bfloat16):
        cast = views_of(views, dataset, [1, 2, 3])
    assert torch.equal(plain[0], cast[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_views_on_cuda_are_those_on_the_cpu():
    dataset = digits()
    one = views_of(maker(), dataset, [1, 2, 3])
    two = views_of(maker().cuda(), dataset, [1, 2, 3])
    assert torch.allclose(one[0], two[0].cpu(), atol=2 / 60)
