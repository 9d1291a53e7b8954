"""Images turned, scaled and shifted, one by one and on the device."""

import math

import cv2
import numpy as np
import pytest
import torch

from ahpcl.datasets import RandomAffine
from ahpcl.datasets.transforms.affine import sources
from ahpcl.models.device_transforms import on_device
from ahpcl.models.sample_draws import SampleDraws

FULL = dict(degrees=45.0, translate=(0.2, 0.1), scale=(0.8, 1.25))


def picture(seed, height=21, width=17, channels=3):
    """A smooth image: rounding of the place of a pixel matters little."""
    rng = np.random.default_rng(seed)
    waves = rng.uniform(0.05, 0.3, (channels, 2))
    y, x = np.mgrid[:height, :width]
    values = [127 + 120 * np.sin(a * x + b * y) for a, b in waves]
    return np.rint(np.stack(values, 2)).astype(np.uint8)


def slowly(image, angle, scale, shift):
    """Every pixel of the moved image, interpolated by hand."""
    height, width = image.shape[:2]
    cos, sin = (f(math.radians(angle)) for f in (math.cos, math.sin))
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    moved = np.zeros(image.shape)
    for row in range(height):
        for column in range(width):
            x = column - middle_x - shift[0]
            y = row - middle_y - shift[1]
            from_x = (cos * x - sin * y) / scale + middle_x
            from_y = (sin * x + cos * y) / scale + middle_y
            from_x = min(max(from_x, 0), width - 1)
            from_y = min(max(from_y, 0), height - 1)
            left, top = math.floor(from_x), math.floor(from_y)
            right, below = min(left + 1, width - 1), min(top + 1, height - 1)
            u, v = from_x - left, from_y - top
            moved[row, column] = (
                image[top, left] * (1 - u) * (1 - v)
                + image[top, right].astype(float) * u * (1 - v)
                + image[below, left].astype(float) * (1 - u) * v
                + image[below, right].astype(float) * u * v
            )
    return moved


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_an_image_is_moved_as_by_hand(channels):
    for seed in range(5):
        image = picture(seed, channels=channels)
        np.random.seed(seed)
        angle, scale = np.random.uniform(-45, 45), np.random.uniform(0.8, 1.25)
        shift = np.random.uniform(-0.2, 0.2) * 17, 0
        shift = shift[0], np.random.uniform(-0.1, 0.1) * 21
        np.random.seed(seed)
        found = RandomAffine(**FULL)({'img': image})['img']
        assert found.shape == image.shape and found.dtype == np.uint8
        # OpenCV counts in 32nds of a pixel.
        wanted = slowly(image, angle, scale, shift)
        assert np.abs(found - wanted).max() <= 4


def test_a_batch_on_the_device_is_moved_alike():
    images = np.stack([picture(n) for n in range(4)])
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    sizes = torch.tensor([[21, 17]]).expand(4, 2)
    drawn = SampleDraws(1, 2, torch.arange(4), 0)
    angle, scale = drawn.uniform(1, -45, 45), drawn.uniform(1, 0.8, 1.25)
    right, down = drawn.uniform(1, -0.2, 0.2), drawn.uniform(1, -0.1, 0.1)
    draws = SampleDraws(1, 2, torch.arange(4), 0)
    found = on_device(RandomAffine(**FULL))(batch, sizes, draws)
    found = found.permute(0, 2, 3, 1).numpy()
    for n in range(4):
        shift = float(right[n]) * 17, float(down[n]) * 21
        wanted = slowly(images[n], float(angle[n]), float(scale[n]), shift)
        assert np.abs(found[n] - wanted).max() <= 0.51
        assert np.abs(found[n] - images[n]).mean() > 3


def test_nothing_to_draw_changes_nothing():
    image = picture(1)
    still = RandomAffine(0.0)({'img': image})['img']
    np.testing.assert_array_equal(still, image)
    assert sources(0, 1, (0, 0), (21, 17)) == [[1, 0, 0], [0, 1, 0]]


def test_a_positive_angle_turns_anticlockwise():
    image = np.zeros((11, 11, 3), np.uint8)
    image[5, 8] = 255  # three pixels to the right of the centre
    matrix = np.array(sources(90, 1, (0, 0), (11, 11)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    turned = cv2.warpAffine(image, matrix, (11, 11), flags=flags)
    # Three pixels above it.
    assert np.argwhere(turned[:, :, 0] > 200).tolist() == [[2, 5]]


def test_a_gray_image_keeps_its_shape():
    assert RandomAffine(30.0)({'img': picture(1)[:, :, 0]})['img'].shape == (
        21,
        17,
    )


@pytest.mark.parametrize(
    'options',
    [
        dict(degrees=-1),
        dict(degrees=181),
        dict(degrees=(0, 45)),
        dict(degrees=float('nan')),
        dict(degrees=10, translate=0.1),
        dict(degrees=10, scale=1.2),
        dict(degrees=10, scale=(1.0, float('inf'))),
        dict(degrees=10, translate=(0.1,)),
        dict(degrees=10, translate=(0.1, 1.5)),
        dict(degrees=10, scale=(0.0, 1.0)),
        dict(degrees=10, scale=(1.2, 0.9)),
    ],
)
def test_options_out_of_range_are_named(options):
    with pytest.raises(
        ValueError, match=r'expected (degrees|translate|scale)'
    ):
        RandomAffine(**options)
