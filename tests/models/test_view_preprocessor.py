"""The lean preprocessor beside mmselfsup's."""

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from mmselfsup.structures import SelfSupDataSample

SETTINGS = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


def data(dtype=torch.uint8):
    generator = torch.Generator().manual_seed(0)
    views = [
        torch.randint(256, (4, 3, size, size), generator=generator).to(dtype)
        for size in (8, 8, 4)
    ]
    samples = []
    for index in range(4):
        sample = SelfSupDataSample()
        sample.sample_idx = InstanceData(value=torch.tensor([index]))
        samples.append(sample)
    return dict(inputs=views, data_samples=samples)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize(
    'settings',
    [{}, SETTINGS, dict(SETTINGS, bgr_to_rgb=True), dict(bgr_to_rgb=True)],
)
def test_images_are_those_of_the_host_to_the_bit(settings, dtype):
    ours = MODELS.build(dict(type='ViewPreprocessor', **settings))
    host = MODELS.build(
        dict(type='mmselfsup.SelfSupDataPreprocessor', **settings)
    )
    given = data(dtype)
    before = [view.clone() for view in given['inputs']]
    found, samples = ours(given, training=True)
    expected, _ = host(data(dtype), True)
    assert len(found) == 3
    for one, two in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, two)
    assert samples is given['data_samples']
    for one, two in zip(before, given['inputs'], strict=True):
        assert torch.equal(one, two)  # the batch itself is left alone


def test_names_in_a_checkpoint_are_those_of_the_host():
    kinds = ('ViewPreprocessor', 'mmselfsup.SelfSupDataPreprocessor')
    ours, host = (MODELS.build(dict(type=k, **SETTINGS)) for k in kinds)
    assert ours.state_dict().keys() == host.state_dict().keys()


def test_a_batch_that_is_no_dict_is_refused():
    with pytest.raises(ValueError, match=r'default_collate.*loader'):
        MODELS.build(dict(type='ViewPreprocessor'))([torch.zeros(1)])
