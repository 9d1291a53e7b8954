"""A step on a GPU never makes the CPU wait: shown without a GPU.

The model's tensors are fake ones that claim to live on a CUDA device. Torch
refuses to read a number off them or to make a shape of what they hold, which
are the things that the CPU would have to wait for. Indices and random draws
on the CPU are real.
"""

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from ahpcl.core import build_hierarchy
from ahpcl.engine import EpochMeans
from thin_ahpcl import BATCH, batch, build

GPU = torch.device('cuda', 0)
WAITING = (DataDependentOutputException, DynamicOutputShapeException)


class Transfers(TorchDispatchMode):
    """Runs what is on the CPU for real; lists blocking transfers."""

    def __init__(self):
        super().__init__()
        self.number = 0
        self.blocking = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        flat, _ = tree_flatten((args, kwargs))
        fake = any(isinstance(x, FakeTensor) for x in flat)
        away = [x for x in flat if isinstance(x, torch.device)]
        if not fake and all(device.type == 'cpu' for device in away):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func.overloadpacket in (
            torch.ops.aten._to_copy,
            torch.ops.aten.copy_,
        ):
            places = {x.device.type for x in flat if isinstance(x, Tensor)}
            places |= {device.type for device in away}
            if len(places) > 1:
                self.number += 1
                last = args[2] if len(args) > 2 else False
                if not kwargs.get('non_blocking', last):
                    self.blocking.append(str(func))
        return func(*args, **kwargs)


@pytest.fixture
def fake():
    DefaultScope.get_instance('no_waiting', scope_name='mmselfsup')
    # The queue's write position and the counts of batch norm are tensors.
    return FakeTensorMode(allow_non_fake_inputs=True)


def to_gpu(model, fake):
    """Replace all parameters and buffers, as `.cuda()` would."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                setattr(
                    module,
                    name,
                    nn.Parameter(
                        empty_like(parameter, fake), parameter.requires_grad
                    ),
                )
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = empty_like(buffer, fake)
    return model


def empty_like(tensor, fake):
    with fake:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=GPU)


def levels(fake):
    """What `set_prototypes` makes of a hierarchy on a GPU."""
    rows = nn.functional.normalize(torch.eye(8)[:BATCH] + 0.1, dim=1)
    hierarchy = build_hierarchy(rows, (5, 3), linkage='agglomerative')
    for level in hierarchy:
        # A level checks numbers, which fake tensors do not have.
        for name in ('centroids', 'concentration'):
            there = empty_like(getattr(level, name), fake)
            object.__setattr__(level, name, there)
    return hierarchy


def run(fake, head=None, **settings):
    """Two steps, with and without prototypes; the transfers seen."""
    model = build(
        head=dict(type='HPCLHead', **(head or {})),
        memory_format='channels_last',
        **settings,
    ).train()
    model = to_gpu(model, fake)
    views, samples = batch()
    views = [empty_like(view, fake) for view in views]
    means = EpochMeans()
    with fake, Transfers() as seen:
        for prototypes in (None, levels(fake)):
            model.head._levels = prototypes
            results = model.loss(views, samples)
            loss, variables = model.parse_losses(results)
            assert loss.device == GPU
            means.update(variables, len(samples))
    assert 'acc_proto' in variables
    return seen


@pytest.mark.parametrize(
    'head',
    [
        {},
        dict(loss_proto=dict(type='ProtoNCELoss', num_negatives=1)),
        dict(loss_proto=dict(type='ProtoNCELoss', negatives='batch')),
        dict(
            loss_proto=dict(
                type='ProtoNCELoss', negatives='batch', num_negatives=1
            )
        ),
    ],
)
def test_a_step_waits_for_nothing(fake, head):
    seen = run(fake, head)
    assert seen.number > 0  # indices and orders do travel
    assert seen.blocking == []


@pytest.mark.parametrize('settings', [dict(symmetric=True), {}])
def test_nor_do_variants_of_it(fake, settings):
    norm = dict(type='SplitBN', num_splits=2)
    backbone = dict(
        type='mmcls.ResNet_CIFAR',
        depth=18,
        stem_channels=8,
        base_channels=8,
        out_indices=(3,),
        norm_cfg=norm,
    )
    seen = run(fake, backbone=backbone, **settings)
    assert seen.blocking == []


def test_nor_does_moco_v2_which_has_no_prototypes(fake):
    model = build(queue_len=10, memory_format='channels_last').train()
    model = to_gpu(model, fake)
    views, samples = batch()
    views = [empty_like(view, fake) for view in views]
    with fake, Transfers() as seen:
        model.loss(views, samples)
    assert seen.number > 0
    assert seen.blocking == []


def test_reading_a_number_would_be_seen(fake):
    tensor = empty_like(torch.zeros(3), fake)
    with fake, Transfers() as seen:
        for wait in (
            lambda: tensor.sum().item(),
            lambda: bool(tensor.any()),
            lambda: tensor.nonzero(),
            lambda: tensor[tensor > 0],
            lambda: torch.unique(tensor),
        ):
            with pytest.raises(WAITING):
                wait()
        torch.zeros(3).to(GPU)
        tensor.to('cpu')
        assert len(seen.blocking) == 2
        torch.zeros(3).to(GPU, non_blocking=True)
        assert (seen.number, len(seen.blocking)) == (3, 2)
