"""bfloat16 autocast on the CPU."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

from ahpcl import compat
from ahpcl.runtime import optim_wrapper as module
from ahpcl.runtime.optim_wrapper import (
    BF16OptimWrapper,
    has_bf16_instructions,
)

compat.apply_all()


@pytest.fixture(autouse=True)
def with_instructions(monkeypatch):
    """Any CPU can compute in bfloat16, if slowly."""
    monkeypatch.setattr(
        module, 'has_bf16_instructions', lambda device: device == 'cpu'
    )


def make(counts: int = 1) -> tuple[nn.Module, BF16OptimWrapper]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    )
    config = {
        'type': 'BF16OptimWrapper',
        'optimizer': {'type': 'SGD', 'lr': 0.1},
        'accumulative_counts': counts,
    }
    return model, build_optim_wrapper(model, config)


def images() -> torch.Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def step(model: nn.Module, wrapper: OptimWrapper) -> float:
    with wrapper.optim_context(model):
        out = model(images())
    loss = out.float().square().mean()
    wrapper.update_params(loss)
    return loss.item()


def test_forward_is_bf16_and_parameters_are_not():
    model, wrapper = make()
    assert isinstance(wrapper, BF16OptimWrapper)
    with wrapper.optim_context(model):
        assert model[0](images()).dtype == torch.bfloat16
    assert model[0](images()).dtype == torch.float32
    with wrapper.optim_context(model):
        out = model(images())
    wrapper.backward(out.float().sum())
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad.dtype == torch.float32


def test_training_learns_and_stays_near_float32():
    model, wrapper = make()
    twin, _ = make()
    plain = OptimWrapper(torch.optim.SGD(twin.parameters(), lr=0.1))
    ours = [step(model, wrapper) for _ in range(5)]
    theirs = [step(twin, plain) for _ in range(5)]
    assert ours[-1] < ours[0]
    assert ours == pytest.approx(theirs, rel=0.05, abs=1e-3)
    assert ours != theirs  # it was bfloat16


def test_gradients_accumulate():
    model, wrapper = make(counts=2)
    before = model[3].weight.detach().clone()
    wrapper.initialize_count_status(model, 0, 4)
    step(model, wrapper)
    assert torch.equal(model[3].weight, before)
    step(model, wrapper)
    assert not torch.equal(model[3].weight, before)


def test_gradients_synchronise_only_at_the_last_of_them():
    class Synchronised(nn.Linear):
        entered = 0

        def no_sync(self):
            self.entered += 1
            return torch.no_grad()  # any context

    model = Synchronised(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = BF16OptimWrapper(optimizer, accumulative_counts=2)
    with wrapper.optim_context(model):
        pass
    assert model.entered == 1
    wrapper._inner_count = 1
    with wrapper.optim_context(model):
        pass
    assert model.entered == 1


@pytest.mark.parametrize('fast', [False, True])
def test_float32_where_there_are_no_instructions(monkeypatch, fast):
    monkeypatch.setattr(module, 'has_bf16_instructions', lambda device: fast)
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    logger = MMLogger.get_instance('bf16_test', log_level='INFO')
    handler = Keep()
    logger.addHandler(handler)
    try:
        model, wrapper = make()
        step(model, wrapper)
        losses = step(model, wrapper)
    finally:
        logger.removeHandler(handler)
    said = sum('computes in float32' in line for line in lines)
    assert said == (0 if fast else 1)
    twin, _ = make()
    plain = OptimWrapper(torch.optim.SGD(twin.parameters(), lr=0.1))
    step(twin, plain)
    assert (losses == step(twin, plain)) is not fast


def test_a_device_without_bfloat16_is_no_error():
    model, wrapper = make()
    with wrapper.optim_context(model.to('meta')):
        assert model[0](images().to('meta')).dtype == torch.float32


@pytest.mark.parametrize(
    ('machine', 'avx512_bf16', 'onednn', 'has'),
    [
        ('x86_64', True, True, True),
        ('AMD64', False, True, False),  # AVX-512 alone: oneDNN converts
        ('aarch64', False, True, True),
        ('aarch64', False, False, False),
    ],
)
def test_what_counts_as_instructions(
    monkeypatch, tmp_path, machine, avx512_bf16, onednn, has
):
    monkeypatch.setattr(module.platform, 'machine', lambda: machine)
    monkeypatch.setattr(module, '_CPUINFO', tmp_path / 'none')
    monkeypatch.setattr(
        torch.cpu,
        '_is_avx512_bf16_supported',
        lambda: avx512_bf16,
        raising=False,
    )
    monkeypatch.setattr(
        torch.ops,
        'mkldnn',
        SimpleNamespace(_is_mkldnn_bf16_supported=lambda: onednn),
    )
    assert has_bf16_instructions() is has
    assert has_bf16_instructions('mps') is False


@pytest.mark.parametrize('machine', ['x86_64', 'arm64'])
def test_a_torch_that_cannot_tell_has_none(monkeypatch, tmp_path, machine):
    """On macOS torch is built without oneDNN, and has no such operator."""
    monkeypatch.setattr(module.platform, 'machine', lambda: machine)
    monkeypatch.setattr(module, '_CPUINFO', tmp_path / 'none')
    monkeypatch.delattr(torch.cpu, '_is_avx512_bf16_supported', raising=False)
    monkeypatch.setattr(torch.ops, 'mkldnn', SimpleNamespace())
    assert has_bf16_instructions() is False


@pytest.mark.parametrize('flags', ['avx512f avx512_bf16 amx_tile', 'avx512f'])
def test_linux_says_what_a_processor_has(monkeypatch, tmp_path, flags):
    monkeypatch.setattr(module.platform, 'machine', lambda: 'x86_64')
    info = tmp_path / 'cpuinfo'
    info.write_text(f'processor : 0\nflags : fpu {flags}\n')
    monkeypatch.setattr(module, '_CPUINFO', info)
    assert has_bf16_instructions() is ('avx512_bf16' in flags)
