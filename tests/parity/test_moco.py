"""MoCo: AHPCL against the published code, the paper, and mmselfsup."""

import math
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from ahpcl.core import info_nce
from small_encoders import CONTRAST, build

PUBLISHED = Path(__file__).parent / 'data' / 'moco.npz'
NAMES = {
    'stem': 'backbone.linear',
    'fc.0': 'neck.mlp.0',
    'fc.2': 'neck.mlp.2',
}


def method(kind, **changes):
    settings = dict(queue_len=8, feat_dim=6, momentum=0.9)
    if kind == 'AHPCL':
        settings.update(head=dict(type='HPCLHead'), shuffle_bn=False)
    else:
        settings.update(head=CONTRAST)
    return build(kind, **{**settings, **changes})


def key_encoder(model):
    """Modules of the key encoder: backbone and neck."""
    return getattr(model.encoder_k, 'module', model.encoder_k)


def queue_of(model):
    """(D, Q) columns, of mmselfsup's model too."""
    return getattr(model.queue, 'features', model.queue)


def total(results):
    (loss,) = (v for k, v in results.items() if 'loss' in k)
    return loss


def sgd(model, **settings):
    parameters = [*model.backbone.parameters(), *model.neck.parameters()]
    return torch.optim.SGD(parameters, **settings)


def step(model, optimizer, views):
    """One training step; answers its results."""
    results = model.loss(views, [])
    optimizer.zero_grad()
    total(results).backward()
    optimizer.step()
    return results


@pytest.fixture(scope='module')
def published():
    with np.load(PUBLISHED) as data:
        return {name: torch.from_numpy(data[name]) for name in data.files}


def test_three_steps_are_those_of_the_published_code(published):
    model = method('AHPCL')
    with torch.no_grad():
        for theirs, ours in NAMES.items():
            for part in ('weight', 'bias'):
                value = published[f'start/{theirs}.{part}']
                model.get_parameter(f'{ours}.{part}').copy_(value)
        query = nn.Sequential(model.backbone, model.neck)
        key_encoder(model).load_state_dict(query.state_dict())
        model.queue.features.copy_(published['queue/0'])
    optimizer = sgd(model, lr=0.5, momentum=0.9, weight_decay=1e-2)
    for number in (1, 2, 3):
        results = step(model, optimizer, list(published[f'views/{number}']))
        torch.testing.assert_close(
            total(results).detach(), published[f'loss/{number}']
        )
        assert results['acc_inst'] == published[f'accuracy/{number}']
        keys = nn.ModuleDict(
            dict(backbone=key_encoder(model)[0], neck=key_encoder(model)[1])
        )
        for theirs, ours in NAMES.items():
            for part in ('weight', 'bias'):
                weight = model.get_parameter(f'{ours}.{part}')
                name = f'{number}/{theirs}.{part}'
                torch.testing.assert_close(
                    weight.grad, published[f'gradient/{name}']
                )
                torch.testing.assert_close(
                    weight.detach(), published[f'query/{name}']
                )
                torch.testing.assert_close(
                    keys.get_parameter(f'{ours}.{part}'),
                    published[f'key/{name}'],
                    check_stride=False,
                )
        torch.testing.assert_close(
            model.queue.features, published[f'queue/{number}']
        )
        assert torch.equal(
            model.queue.position, published[f'pointer/{number}']
        )


def loop_info_nce(query, keys, queue, temperature):
    """Equation 1 of the paper, one number after the other."""
    losses, gradients = [], []
    for row, key in zip(query, keys, strict=True):
        candidates = [key, *queue]
        scores = [
            math.exp(
                sum(a * b for a, b in zip(row, c, strict=True)) / temperature
            )
            for c in candidates
        ]
        losses.append(-math.log(scores[0] / sum(scores)))
        gradient = [0.0] * len(row)
        for number, (score, c) in enumerate(
            zip(scores, candidates, strict=True)
        ):
            weight = score / sum(scores) - (number == 0)
            for place, value in enumerate(c):
                gradient[place] += weight * value / temperature / len(query)
        gradients.append(gradient)
    return sum(losses) / len(losses), gradients


def unit(*shape):
    return nn.functional.normalize(torch.randn(*shape, dtype=torch.float64))


def test_info_nce_and_its_gradient_are_those_of_the_loop():
    query, keys, queue = unit(5, 6), unit(5, 6), unit(9, 6)
    expected, gradient = loop_info_nce(
        query.tolist(), keys.tolist(), queue.tolist(), 0.2
    )
    query.requires_grad_()
    loss, _ = info_nce(query, keys, queue.t(), temperature=0.2)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert torch.allclose(query.grad, torch.tensor(gradient).double())


def test_a_step_is_that_of_the_loop():
    """Loss, weights, key encoder and queue, for a queue of odd length."""
    model = method('AHPCL', queue_len=7, momentum=0.8)
    twin = {n: p.detach().clone() for n, p in model.named_parameters()}
    window = deque(model.queue.features.t().tolist(), maxlen=7)
    optimizer = sgd(model, lr=0.3)
    for _ in range(4):
        views = [torch.randn(3, 3, 2, 2) for _ in range(2)]
        results = step(model, optimizer, views)

        weights = {
            n: p.clone().requires_grad_()
            for n, p in twin.items()
            if 'encoder_k' not in n
        }
        for name, value in weights.items():  # equation 2
            part, rest = name.split('.', 1)
            own = f'encoder_k.{("backbone", "neck").index(part)}.{rest}'
            twin[own] = 0.8 * twin[own] + 0.2 * value.detach()

        def encode(images, prefix, source):
            first, second = prefix
            hidden = torch.tanh(
                images.flatten(1) @ source[f'{first}.linear.weight'].t()
                + source[f'{first}.linear.bias']
            )
            hidden = torch.relu(
                hidden @ source[f'{second}.mlp.0.weight'].t()
                + source[f'{second}.mlp.0.bias']
            )
            rows = (
                hidden @ source[f'{second}.mlp.2.weight'].t()
                + source[f'{second}.mlp.2.bias']
            )
            return rows / rows.norm(dim=1, keepdim=True)

        rows = encode(views[0], ('backbone', 'neck'), weights)
        keys = encode(views[1], ('encoder_k.0', 'encoder_k.1'), twin)
        expected, gradient = loop_info_nce(
            rows.tolist(), keys.tolist(), list(window), 0.2
        )
        assert total(results).item() == pytest.approx(expected, rel=1e-5)
        rows.backward(torch.tensor(gradient))
        for name, value in weights.items():
            twin[name] = value.detach() - 0.3 * value.grad
        window.extend(keys.tolist())

    for name, value in model.named_parameters():
        torch.testing.assert_close(
            value.detach(), twin[name], atol=1e-5, rtol=1e-4, msg=name
        )
    # The oldest key stands where the next one is written.
    start = int(model.queue.position)
    ours = model.queue.features.t().roll(-start, 0)
    torch.testing.assert_close(
        ours, torch.tensor(list(window)), atol=1e-5, rtol=1e-4
    )


def thin(kind):
    settings = dict(
        type=kind,
        queue_len=24,
        feat_dim=8,
        momentum=0.9,
        backbone=dict(
            type='mmcls.ResNet_CIFAR',
            depth=18,
            stem_channels=4,
            base_channels=4,
            num_stages=2,
            strides=(1, 2),
            dilations=(1, 1),
            out_indices=(1,),
            norm_cfg=dict(type='BN'),
        ),
        neck=dict(
            type='NonLinearNeck',
            in_channels=8,
            hid_channels=8,
            out_channels=8,
            with_last_bn=False,
            norm_cfg=dict(type='BN1d'),
        ),
        head=CONTRAST,
    )
    if kind == 'AHPCL':
        settings.update(head=dict(type='HPCLHead'), shuffle_bn=False)
    if kind != 'mmselfsup.MoCo':
        # As mmselfsup: batches of 8 make much of a different rounding.
        settings.update(memory_format='contiguous')
    model = MODELS.build(settings)
    model.init_weights()
    return model.train()


def test_the_warm_up_is_mmselfsups_moco():
    """From the same weights on the same batches, batch norm included.

    One process has one batch: mmselfsup's shuffle changes but the order.
    """
    ours, host = thin('AHPCL'), thin('mmselfsup.MoCo')
    with torch.no_grad():
        ours.backbone.load_state_dict(host.backbone.state_dict())
        ours.neck.load_state_dict(host.neck.state_dict())
        key_encoder(ours).load_state_dict(
            nn.Sequential(host.backbone, host.neck).state_dict()
        )
        ours.queue.features.copy_(host.queue)
    settings = dict(lr=0.1, momentum=0.9, weight_decay=1e-4)
    optimizers = [sgd(m, **settings) for m in (ours, host)]
    close = dict(atol=2e-5, rtol=1e-3)
    for _ in range(4):
        views = [torch.randn(8, 3, 8, 8) for _ in range(2)]
        results = [
            step(model, optimizer, views)
            for model, optimizer in zip((ours, host), optimizers, strict=True)
        ]
        torch.testing.assert_close(*map(total, results), **close)
        for mine, other in zip(
            (ours.backbone, ours.neck, key_encoder(ours)),
            (host.backbone, host.neck, key_encoder(host)),
            strict=True,
        ):
            for one, two in zip(
                mine.parameters(), other.parameters(), strict=True
            ):
                torch.testing.assert_close(one, two, **close)
                if one.requires_grad:
                    torch.testing.assert_close(one.grad, two.grad, **close)
        torch.testing.assert_close(queue_of(ours), queue_of(host), **close)
