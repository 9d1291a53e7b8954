"""Channels mixed to one gray, image by image and on the device."""

import numpy as np
import pytest
import torch

from ahpcl.datasets import ChannelMix
from ahpcl.models.device_transforms import on_device
from ahpcl.models.sample_draws import SampleDraws


def picture(seed, channels=3):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (9, 7, channels), dtype=np.uint8)


def slowly(image, weights):
    """The mix, pixel by pixel."""
    height, width, channels = image.shape
    gray = [
        [
            sum(
                float(weights[c]) * int(image[y, x, c])
                for c in range(channels)
            )
            for x in range(width)
        ]
        for y in range(height)
    ]
    values = [value for row in gray for value in row]
    mean = sum(values) / len(values)
    spread = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5
    found = [
        [min(max(128 + 48 * (v - mean) / spread, 0), 255) for v in row]
        for row in gray
    ]
    return np.array(found)[:, :, None].repeat(channels, 2)


@pytest.mark.parametrize('channels', [1, 2, 3, 5])
def test_fixed_weights_are_a_sum(channels):
    weights = [0.7, -1.2, 0.1, 2.0, -0.3][:channels]
    image = picture(channels, channels)
    found = ChannelMix(weights)({'img': image})['img']
    assert found.dtype == np.uint8 and found.flags.writeable
    assert np.abs(found - slowly(image, weights)).max() <= 0.51


def test_random_weights_are_numpys_and_often_invert():
    image = picture(0)
    bright = []
    for seed in range(40):
        np.random.seed(seed)
        weights = np.random.uniform(-1, 1, 3)
        np.random.seed(seed)
        found = ChannelMix()({'img': image})['img']
        assert np.abs(found - slowly(image, weights)).max() <= 0.51
        gray = image @ [0.114, 0.587, 0.299]
        bright.append(np.corrcoef(gray.ravel(), found[..., 0].ravel())[0, 1])
    assert 8 < sum(np.array(bright) < 0) < 32


def test_an_image_without_contrast_is_gray():
    image = np.full((4, 4, 3), 7, np.uint8)
    assert (ChannelMix()({'img': image})['img'] == 128).all()


def test_a_gray_image_keeps_its_shape():
    found = ChannelMix()({'img': picture(1)[:, :, 0]})['img']
    assert found.shape == (9, 7)
    assert found.mean() == pytest.approx(128, abs=1)
    assert found.std() == pytest.approx(48, abs=1)


@pytest.mark.parametrize('weights', [None, (0.3, -0.5, 0.9)])
def test_a_batch_on_the_device_is_mixed_alike(weights):
    images = np.stack([picture(n) for n in range(6)])
    images[4] = 99  # without contrast
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    sizes = torch.tensor([[9, 7]]).expand(6, 2)
    draws = SampleDraws(1, 2, torch.arange(6), 0)
    drawn = SampleDraws(1, 2, torch.arange(6), 0).uniform(3, -1.0, 1.0)
    found = on_device(ChannelMix(weights))(batch, sizes, draws)
    found = found.permute(0, 2, 3, 1).numpy()
    assert (found[4] == 128).all()
    for n in (0, 1, 2, 3, 5):
        own = drawn[n].tolist() if weights is None else weights
        assert np.abs(found[n] - slowly(images[n], own)).max() <= 0.51
    assert np.array_equal(found, np.rint(found))


@pytest.mark.parametrize(
    'weights',
    [(0, 0, 0), (1.0, float('nan'), 0), 0.5, 'abc', [None, 1], ()],
)
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(ValueError, match='expected a list of finite'):
        ChannelMix(weights)


def test_weights_of_other_channels_are_named():
    with pytest.raises(ValueError, match='as channels, 5, got 3'):
        ChannelMix((1, 2, 3))({'img': picture(0, 5)})
    with pytest.raises(ValueError, match='as channels, 5, got 3'):
        on_device(ChannelMix((1, 2, 3)))(torch.zeros(2, 5, 4, 4), None, None)
