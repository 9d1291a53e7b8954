"""Few groups, and the same training as with one for every parameter."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.optim.optimizer import default_constructor
from torch import nn

import ahpcl  # noqa: F401

SETTINGS = dict(
    optimizer=dict(type='SGD', lr=0.01, weight_decay=1e-2, momentum=0.9),
    paramwise_cfg=dict(
        custom_keys={'head': dict(lr_mult=10.0, momentum=0.0)},
        bias_decay_mult=0.5,
    ),
)


def model_of():
    torch.manual_seed(0)
    model = nn.ModuleDict(
        dict(
            backbone=nn.Sequential(nn.Linear(4, 5), nn.ReLU()),
            frozen=nn.Linear(4, 5).requires_grad_(False),
            neck=nn.Linear(5, 3),
            head=nn.Linear(3, 2),
        )
    )
    model.scale = nn.Parameter(torch.ones(2))
    return model


def trained(fused, **more):
    model = model_of()
    settings = {**copy.deepcopy(SETTINGS), **more}
    settings['optimizer']['fused'] = fused
    wrapper = build_optim_wrapper(model, settings)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        x = torch.randn(8, 4, generator=generator)
        hidden = model['backbone'](x) + model['frozen'](x)
        out = model['head'](model['neck'](hidden)) * model.scale
        wrapper.update_params(out.square().mean())
    return model.state_dict(), wrapper.optimizer.param_groups


@pytest.mark.parametrize('fused', [False, True])
def test_trains_as_with_a_group_for_every_parameter(fused, monkeypatch):
    said = []
    monkeypatch.setattr(
        default_constructor, 'print_log', lambda text, **_: said.append(text)
    )
    expected, many = trained(fused)
    assert any('frozen.weight is skipped' in text for text in said)
    said.clear()
    found, groups = trained(fused, constructor='GroupedConstructor')
    assert said and not any('skipped' in text for text in said)
    for name, value in expected.items():
        assert torch.isfinite(value).all()
        assert torch.equal(found[name], value), name
    # All but the head and biases, biases, and the head.
    assert [len(group['params']) for group in groups] == [3, 2, 2]
    assert len(many) == 7
    together = [p for group in groups for p in group['params']]
    assert all(p.requires_grad for p in together)


def test_a_model_without_settings_has_one_group():
    model = model_of()
    settings = dict(SETTINGS, paramwise_cfg=dict(bypass_duplicate=True))
    wrapper = build_optim_wrapper(
        model, {**settings, 'constructor': 'GroupedConstructor'}
    )
    (group,) = wrapper.optimizer.param_groups
    assert len(group['params']) == 7
