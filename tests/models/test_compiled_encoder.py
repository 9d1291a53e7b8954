"""Compiled encoders: same results, same names, and what is compiled."""

import copy

import pytest
import torch

from ahpcl.models import fast_encoders
from ahpcl.models.fast_encoders import check_compiler, encode
from thin_ahpcl import batch, build, hierarchy


def fake_compiler(monkeypatch):
    """Lists the inputs that reach the compiled function; encodes them."""
    seen = []

    def compiled(backbone, neck, images):
        seen.append((tuple(images.shape), torch.is_grad_enabled()))
        return encode(backbone, neck, images)

    monkeypatch.setattr(fast_encoders, 'compiled_encode', lambda: compiled)
    return seen


def test_small_crops_are_compiled_too(monkeypatch):
    seen = fake_compiler(monkeypatch)
    model = build(compile=True).train()
    views, samples = batch()
    model.loss([*views, *(v[..., :4, :4] for v in views)], samples)
    assert [(s[0], s[-1], grad) for s, grad in seen] == [
        (6, 8, True),
        (12, 4, True),
        (6, 8, False),
    ]


def test_features_of_an_estep_are_not_compiled(monkeypatch):
    seen = fake_compiler(monkeypatch)
    model = build(compile=True).eval()
    model.extract_keys(batch()[0])
    model.extract_feat(batch()[0])
    assert seen == []


def test_names_and_copies_do_not_depend_on_it():
    plain, compiled = build(), build(compile=True)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    compiled.load_state_dict(plain.state_dict())
    twin = copy.deepcopy(compiled)
    assert twin.compiled
    assert [n for n, _ in plain.named_modules()] == [
        n for n, _ in compiled.named_modules()
    ]


def test_without_a_compiler_it_says_so_before_the_first_step(monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    message = r"C\+\+ compiler.*'no-such-compiler'.*model.compile=False"
    with pytest.raises(ValueError, match=message):
        check_compiler(torch.device('cpu'))
    model = build(compile=True, queue_len=4)
    with pytest.raises(ValueError, match=message):
        model.check_training(6, 6, [(3, 8, 8)] * 2)
    build(queue_len=4).check_training(6, 6, [(3, 8, 8)] * 2)


@pytest.mark.campaign
def test_compiled_steps_are_those_of_eager_ones():
    try:
        check_compiler(torch.device('cpu'))
    except ValueError as error:
        pytest.skip(str(error))
    backbone = dict(
        type='mmcls.ResNet_CIFAR',
        depth=18,
        stem_channels=8,
        base_channels=8,
        num_stages=1,
        strides=(1,),
        dilations=(1,),
        out_indices=(0,),
        norm_cfg=dict(type='SplitBN'),
    )
    neck = dict(
        type='MoCoV2Neck', in_channels=8, hid_channels=8, out_channels=8
    )
    plain = build(backbone=backbone, neck=neck).train()
    compiled = build(backbone=backbone, neck=neck, compile=True).train()
    compiled.load_state_dict(plain.state_dict())
    close = dict(atol=2e-4, rtol=2e-3)
    for number in range(2):
        results = []
        for model in (plain, compiled):
            model.zero_grad()
            model.head.set_prototypes(hierarchy(5, 3), {5: 0.1})
            results.append(model.loss(*batch(number)))
            sum(results[-1][k] for k in ('loss_inst', 'loss_proto')).backward()
        torch.testing.assert_close(*results, **close)
        for (name, one), two in zip(
            plain.named_parameters(), compiled.parameters(), strict=True
        ):
            if one.requires_grad:
                torch.testing.assert_close(
                    one.grad, two.grad, **close, msg=name
                )
        for one, two in zip(plain.buffers(), compiled.buffers(), strict=True):
            torch.testing.assert_close(one, two, **close)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] > 0
