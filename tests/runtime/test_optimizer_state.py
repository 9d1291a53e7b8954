"""Momenta in the memory format of their parameters, and forgotten."""

import copy

import pytest
import torch
from torch import nn

from ahpcl.runtime import align_optimizer_state
from ahpcl.runtime.optimizer_state import forget_steps

SETTINGS = dict(
    SGD=dict(lr=0.1, momentum=0.9, weight_decay=1e-3), AdamW=dict(lr=0.01)
)


def steps(parameter, optimizer, count):
    """Gradients that depend on the position of every weight."""
    pattern = torch.arange(parameter.numel()).view(parameter.shape).sin()
    for number in range(count):
        parameter.grad = torch.empty_like(parameter).copy_(
            pattern * (number + 1)
        )
        optimizer.step()


@pytest.mark.parametrize('name', SETTINGS)
@pytest.mark.parametrize('fused', [True, False])
def test_a_run_resumed_in_another_format_goes_on_as_before(name, fused):
    """Without it a fused optimizer takes the momentum of other weights."""
    start = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    kind = getattr(torch.optim, name)
    parameter = nn.Parameter(start.clone())
    optimizer = kind([parameter], fused=fused, **SETTINGS[name])
    steps(parameter, optimizer, 2)
    moved = nn.Parameter(
        parameter.detach().to(memory_format=torch.channels_last)
    )
    resumed = kind([moved], fused=fused, **SETTINGS[name])
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(parameter, optimizer, 2)
    number = {'SGD': 1, 'AdamW': 2}[name]
    assert align_optimizer_state(resumed) == number
    assert align_optimizer_state(resumed) == 0
    steps(moved, resumed, 2)
    torch.testing.assert_close(moved, parameter)
    assert moved.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('name', SETTINGS)
def test_fused_steps_are_those_of_the_plain_optimizer(name):
    found = []
    for fused in (True, False):
        parameter = nn.Parameter(torch.ones(3, 4, 2, 2))
        kind = getattr(torch.optim, name)
        optimizer = kind([parameter], fused=fused, **SETTINGS[name])
        steps(parameter, optimizer, 5)
        found.append(parameter.detach())
    torch.testing.assert_close(*found, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize('name', SETTINGS)
@pytest.mark.parametrize('fused', [True, False])
def test_a_forgotten_parameter_steps_as_at_first_and_others_go_on(name, fused):
    kind = getattr(torch.optim, name)

    def parameters():
        return [nn.Parameter(torch.ones(3, 4)) for _ in range(2)]

    def step(optimizer, weights, scale):
        for weight in weights:
            weight.grad = torch.full_like(weight, scale)
        optimizer.step()

    forgetful, kept = parameters()
    optimizer = kind([forgetful, kept], fused=fused, **SETTINGS[name])
    forget_steps(optimizer, [forgetful])  # before any step: nothing to forget
    for scale in (1.0, -3.0):
        step(optimizer, [forgetful, kept], scale)
    with torch.no_grad():
        forgetful.fill_(1)
    forget_steps(optimizer, [forgetful, nn.Parameter(torch.ones(1))])
    step(optimizer, [forgetful, kept], 2.0)

    first, going_on = parameters()
    step(kind([first], fused=fused, **SETTINGS[name]), [first], 2.0)
    reference = kind([going_on], fused=fused, **SETTINGS[name])
    for scale in (1.0, -3.0, 2.0):
        step(reference, [going_on], scale)
    torch.testing.assert_close(forgetful, first)
    torch.testing.assert_close(kept, going_on)
