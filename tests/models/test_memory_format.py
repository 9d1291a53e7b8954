"""Encoders with channels last: where, and that nothing else changes."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from ahpcl.models.fast_encoders import choose_memory_format
from thin_ahpcl import batch, build, hierarchy

CPU = torch.device('cpu')
LAST = torch.channels_last


def test_thin_encoders_take_channels_last_on_a_cpu():
    thin = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 512, 3))
    wide = nn.Sequential(nn.Conv2d(3, 64, 7), nn.Conv2d(64, 16, 3))
    assert choose_memory_format('auto', thin, CPU) == LAST
    assert choose_memory_format('auto', wide, CPU) == torch.contiguous_format
    assert choose_memory_format('channels_last', wide, CPU) == LAST
    assert (
        choose_memory_format('auto', nn.Linear(2, 2), CPU)
        == torch.contiguous_format
    )


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match=r"'channels_last'.*got 'nhwc'"):
        build(memory_format='nhwc')


@pytest.mark.parametrize('shuffle', [True, False])
def test_a_step_is_the_same_in_both_formats(shuffle):
    plain = build(memory_format='contiguous', shuffle_bn=shuffle).double()
    last = build(memory_format='channels_last', shuffle_bn=shuffle).double()
    last.load_state_dict(plain.state_dict())
    views, samples = batch()
    views = [view.double() for view in views]
    for model in (plain, last):
        model.train()
        model.head.set_prototypes(hierarchy(5, 3), {5: 0.1})
        results = model.loss(views, samples)
        (results['loss_inst'] + results['loss_proto']).backward()
    # Features are float32 from the neck on.
    close = dict(atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        plain.loss(views, samples), last.loss(views, samples), **close
    )
    for (name, one), two in zip(
        plain.named_parameters(), last.parameters(), strict=True
    ):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, two.grad, **close, msg=name)
    for one, two in zip(plain.buffers(), last.buffers(), strict=True):
        torch.testing.assert_close(one, two, **close)


def test_parameters_and_maps_are_laid_out_as_set():
    config = dict(
        type='AHPCL',
        memory_format='channels_last',
        queue_len=8,
        feat_dim=4,
        backbone=dict(
            type='mmcls.ResNet_CIFAR',
            depth=18,
            stem_channels=8,
            base_channels=8,
            out_indices=(3,),
        ),
        neck=dict(
            type='MoCoV2Neck', in_channels=64, hid_channels=8, out_channels=4
        ),
        head=dict(type='HPCLHead'),
    )
    model = MODELS.build(config)
    for part in (model, copy.deepcopy(model), model.to('cpu')):
        kernels = [p for p in part.parameters() if p.ndim == 4]
        assert len(kernels) > 20
        assert all(k.is_contiguous(memory_format=LAST) for k in kernels)
    seen = []
    for encoder in (model.backbone, model.encoder_k):
        convolutions = [m for m in encoder.modules() if type(m) is nn.Conv2d]
        convolutions[3].register_forward_hook(
            lambda _, inputs, out: seen.extend([*inputs, out])
        )
    model.train().loss(*batch())
    assert len(seen) == 4
    assert all(m.is_contiguous(memory_format=LAST) for m in seen)


def test_a_checkpoint_fits_either_format():
    plain = build(memory_format='contiguous').eval()
    last = build(memory_format='channels_last').eval()
    last.load_state_dict(plain.state_dict())
    assert plain.state_dict().keys() == last.state_dict().keys()
    kernel = last.backbone.conv1.weight
    assert kernel.is_contiguous(memory_format=LAST)
    views, _ = batch()
    torch.testing.assert_close(
        last.extract_keys(views), plain.extract_keys(views)
    )
