import colorsys
import warnings

import numpy as np
import pytest
from mmselfsup.datasets.transforms import ColorJitter
from PIL import Image

from ahpcl.datasets import SafeColorJitter
from ahpcl.datasets.transforms.color import shift_hue


def picture(seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize('seed', range(12))
def test_same_bytes_as_the_host_where_the_host_works(seed):
    options = {
        'brightness': 0.4,
        'contrast': (0.5, 2.0),
        'saturation': 0.9,
        'hue': (0.0, 0.5),
    }
    image = picture(seed)
    results = []
    for kind in (ColorJitter, SafeColorJitter):
        np.random.seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            out = kind(**options)({'img': image.copy()})['img']
        results.append((out, np.random.rand()))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]  # as many random numbers drawn


def numpy_1_hue(rgb, shift):
    """mmselfsup's hue on NumPy 1: a C cast from double to uint8."""
    hsv = np.array(Image.fromarray(rgb).convert('HSV'))
    with np.errstate(all='ignore'):
        step = np.array([shift * 255]).astype(np.int64).astype(np.uint8)[0]
    hsv[..., 0] += step
    return np.array(Image.fromarray(hsv, mode='HSV').convert('RGB'))


@pytest.mark.parametrize('shift', [-0.5, -0.1, -0.0865, -0.001, 0.0, 0.1, 0.5])
def test_hue_wraps_around(shift):
    rgb = picture(3)
    got = np.asarray(shift_hue(Image.fromarray(rgb), shift))
    np.testing.assert_array_equal(got, numpy_1_hue(rgb, shift))


def test_hue_of_a_colour():
    red = Image.fromarray(np.full((1, 1, 3), [255, 0, 0], np.uint8))
    for shift in (-1 / 3, 1 / 3):
        got = np.asarray(shift_hue(red, shift))[0, 0] / 255
        hue = colorsys.rgb_to_hsv(*got)[0]
        assert hue == pytest.approx(shift % 1, abs=0.01)


def test_negative_hue_in_the_transform():
    out = SafeColorJitter(hue=(-0.3, -0.3))({'img': picture(0)})['img']
    expected = numpy_1_hue(picture(0)[..., ::-1].copy(), -0.3)[..., ::-1]
    np.testing.assert_array_equal(out, expected)
    assert out.flags.c_contiguous


def test_nothing_to_do():
    image = picture(1)
    np.testing.assert_array_equal(
        SafeColorJitter()({'img': image})['img'], image
    )


@pytest.mark.parametrize(
    'options',
    [
        {'brightness': -0.1},
        {'contrast': (2.0, 1.0)},
        {'saturation': (-1.0, 1.0)},
        {'hue': 0.6},
        {'hue': -0.1},
        {'hue': (0.2, 0.1)},
    ],
)
def test_values_out_of_range(options):
    with pytest.raises(ValueError, match=f'expected {next(iter(options))}'):
        SafeColorJitter(**options)
