import copy

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from ahpcl.models import SplitBatchNorm


@pytest.mark.parametrize(('batch', 'splits'), [(8, 4), (9, 4), (6, 1)])
def test_equals_batch_norm_of_every_part(batch, splits):
    torch.manual_seed(0)
    images = torch.randn(batch, 3, 4, 5) * 2 + 1
    split = SplitBatchNorm(3, num_splits=splits)
    nn.init.uniform_(split.weight)
    nn.init.uniform_(split.bias)
    split.train()
    expected, means, variances = [], [], []
    for part in images.tensor_split(splits):
        plain = nn.BatchNorm2d(3)
        plain.load_state_dict(
            {**plain.state_dict(), **dict(split.named_parameters())}
        )
        expected.append(plain(part))
        means.append(plain.running_mean)
        variances.append(plain.running_var)
    torch.testing.assert_close(split(images), torch.cat(expected))
    torch.testing.assert_close(split.running_mean, torch.stack(means).mean(0))
    torch.testing.assert_close(
        split.running_var, torch.stack(variances).mean(0)
    )
    assert int(split.num_batches_tracked) == 1


def test_parts_do_not_see_each_other():
    split = SplitBatchNorm(3, num_splits=2).train()
    images = torch.randn(8, 3, 2, 2)
    changed = images.clone()
    changed[4:] += 100 * torch.randn(4, 3, 2, 2)
    assert torch.equal(split(images)[:4], split(changed)[:4])
    assert not torch.equal(split(images)[4:], split(changed)[4:])


def test_evaluation_is_plain_batch_norm():
    split = SplitBatchNorm(3, num_splits=4)
    split(torch.randn(8, 3, 4, 4))
    plain = nn.BatchNorm2d(3)
    plain.load_state_dict(split.state_dict())
    images = torch.randn(5, 3, 4, 4)
    assert torch.equal(split.eval()(images), plain.eval()(images))


def test_gradient_is_that_of_the_parts():
    split = SplitBatchNorm(2, num_splits=2).train()
    images = torch.randn(6, 2, 3, 3, requires_grad=True)
    weight = torch.randn(6, 2, 3, 3)
    (split(images) * weight).sum().backward()
    twin = images.detach().clone().requires_grad_()
    plain = nn.BatchNorm2d(2).train()
    outputs = torch.cat([plain(twin[:3]), plain(twin[3:])])
    (outputs * weight).sum().backward()
    torch.testing.assert_close(images.grad, twin.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('shape', [(16, 8, 6, 6), (12, 5, 1, 3), (32, 8)])
@pytest.mark.parametrize('offset', [0, 30])
def test_small_parts_together_are_the_parts(shape, offset, monkeypatch):
    torch.manual_seed(0)
    images, weight = torch.randn(2, *shape).unbind()
    if len(shape) == 4:
        images, weight = (
            tensor.to(memory_format=torch.channels_last)
            for tensor in (images, weight)
        )
    split = SplitBatchNorm(shape[1]).train()
    nn.init.uniform_(split.weight)
    nn.init.uniform_(split.bias)
    twin = copy.deepcopy(split)
    found = split_outputs(split, images + offset, weight)
    assert any('NormaliseTogether' in name for name in graph(split, images))
    monkeypatch.setattr('ahpcl.models.split_batchnorm._SMALL_BYTES', 0)
    expected = split_outputs(twin, images + offset, weight)
    assert any('NormaliseParts' in name for name in graph(twin, images))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_constant_channel_stays_finite():
    images = torch.randn(8, 3, 4, 4)
    images[:, 1] = 7
    images = images.to(memory_format=torch.channels_last)
    outputs = split_outputs(SplitBatchNorm(3), images, torch.ones(8, 3, 4, 4))
    assert all(torch.isfinite(tensor).all() for tensor in outputs)
    torch.testing.assert_close(outputs[0][:, 1], torch.zeros(8, 4, 4))


def test_builds_in_a_host_backbone():
    backbone = MODELS.build(
        dict(
            type='mmcls.ResNet_CIFAR',
            depth=18,
            stem_channels=8,
            base_channels=8,
            out_indices=(3,),
            norm_cfg=dict(type='SplitBN', num_splits=2),
        )
    )
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(type(m) is SplitBatchNorm for m in norms)


def test_rejects_no_parts():
    with pytest.raises(ValueError, match=r'num_splits.*got 0'):
        SplitBatchNorm(3, num_splits=0)


def test_serves_the_vectors_of_a_neck():
    vectors = torch.randn(8, 3)
    split = SplitBatchNorm(3, num_splits=2).train()
    plain = nn.BatchNorm1d(3).train()
    expected = torch.cat([plain(vectors[:4]), plain(vectors[4:])])
    torch.testing.assert_close(split(vectors), expected)


def forward_backward(split, images, weight):
    images = images.clone().requires_grad_()
    outputs = split(images)
    outputs.backward(weight)
    return outputs.detach(), images.grad, split.weight.grad, split.bias.grad


@pytest.mark.parametrize('batch', [16, 10])
def test_channels_last_stays_so_and_changes_nothing(batch):
    torch.manual_seed(0)
    images, weight = torch.randn(2, batch, 8, 6, 6).unbind()
    split = SplitBatchNorm(8).train()
    expected = forward_backward(split, images, weight)
    split.zero_grad()
    last = torch.channels_last
    found = forward_backward(
        split, images.to(memory_format=last), weight.to(memory_format=last)
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    for tensor in found[:2]:
        assert tensor.is_contiguous(memory_format=last)


@pytest.mark.parametrize('shape', [(16, 8, 6, 6), (10, 8, 3, 3), (9, 8)])
@pytest.mark.parametrize('affine', [True, False])
def test_what_is_compiled_is_the_same(shape, affine, monkeypatch):
    torch.manual_seed(0)
    images, weight = torch.randn(2, *shape).unbind()
    split = SplitBatchNorm(8, affine=affine).train()
    twin = copy.deepcopy(split)
    expected = split_outputs(split, images, weight)
    monkeypatch.setattr(torch.compiler, 'is_compiling', lambda: True)
    torch.testing.assert_close(
        split_outputs(twin, images, weight), expected, atol=1e-5, rtol=1e-4
    )
    assert not any('Normalise' in name for name in graph(twin, images))


def split_outputs(split, images, weight):
    images = images.clone().requires_grad_()
    outputs = split(images)
    outputs.backward(weight)
    gradients = [p.grad for p in split.parameters()]
    buffers = [split.running_mean, split.running_var]
    return [outputs.detach(), images.grad, *gradients, *buffers]


def graph(split, images):
    """Names of the functions behind the output."""
    names, todo = [], [split(images.clone().requires_grad_()).grad_fn]
    while todo:
        node = todo.pop()
        if node is not None:
            names.append(node.name())
            todo += [inner for inner, _ in node.next_functions]
    return names


def test_bfloat16_inputs_have_float32_statistics():
    torch.manual_seed(0)
    images = torch.randn(8, 3, 4, 4)
    split, twin = SplitBatchNorm(3).train(), SplitBatchNorm(3).train()
    outputs = split(images.bfloat16())
    assert outputs.dtype == torch.bfloat16
    assert split.running_mean.dtype == torch.float32
    torch.testing.assert_close(
        outputs.float(), twin(images), atol=3e-2, rtol=3e-2
    )
    torch.testing.assert_close(
        split.running_var, twin.running_var, atol=1e-3, rtol=1e-2
    )
