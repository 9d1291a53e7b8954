"""SimCLR: what it corrects in mmselfsup, each beside mmselfsup as it comes."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import nn

from ahpcl.baselines.simclr import gather_with_gradient
from small_encoders import CONTRAST, build

HOST = 'mmselfsup.SimCLR'
OURS = 'SimCLRBaseline'


def method(kind=OURS, **changes):
    return build(kind, **{'head': CONTRAST, **changes})


def views(batch=4, number=2):
    return [torch.randn(batch, 3, 2, 2) for _ in range(number)]


class Rows(nn.Module):
    """Rows of the images themselves: no product that autocast rounds."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(12))

    def forward(self, images):
        return (images.flatten(1) * self.weight,)


class Through(nn.Module):
    def forward(self, rows):
        return list(rows)


@pytest.mark.parametrize(('kind', 'exact'), [(HOST, False), (OURS, True)])
def test_similarities_are_not_rounded_under_autocast(kind, exact):
    for part in (Rows, Through):
        MODELS.register_module(module=part, force=True)
    model = method(kind, backbone=dict(type='Rows'), neck=dict(type='Through'))
    inputs = views(6)
    rows = F.normalize(
        torch.stack(inputs, 1).flatten(0, 1).flatten(1).double()
    )
    logits = (rows @ rows.t() / 0.2).fill_diagonal_(-torch.inf)
    partners = torch.arange(12) ^ 1
    expected = F.cross_entropy(logits, partners)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        results = model.loss(inputs, [])
    (loss,) = (v for k, v in results.items() if 'loss' in k)
    error = abs(loss.item() - expected.item())
    assert error < 1e-6 if exact else error > 1e-4


def test_a_step_in_bfloat16_is_finite_and_float32():
    model = method()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = model.loss(views())['loss_inst']
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_four_views_are_refused_where_the_host_fails_in_a_reshape():
    with pytest.raises(RuntimeError, match='shape'):
        method(HOST).loss(views(number=4), [])
    with pytest.raises(ValueError, match=r'views.*got 4'):
        method().loss(views(number=4))


def test_unfit_data_is_refused_before_the_first_step():
    model = method()
    shape = (3, 2, 2)
    model.check_training(num_images=2, batch_size=2, view_shapes=[shape] * 2)
    with pytest.raises(ValueError, match='images, got 1'):
        model.check_training(8, 1, [shape] * 2)
    with pytest.raises(ValueError, match=r'got 1 \(2 x 2\)'):
        model.check_training(8, 2, [shape])
    with pytest.raises(ValueError, match=r'got 2 \(2 x 2, 3 x 2\)'):
        model.check_training(8, 2, [shape, (3, 3, 2)])
    with pytest.raises(ValueError, match='5 x 5 pixels'):
        model.check_training(8, 2, [(3, 5, 5)] * 2)
    with pytest.raises(ValueError, match=r'views.*got 1'):
        model.loss(torch.randn(4, 3, 2, 2))


def test_one_process_gathers_nothing():
    rows = torch.randn(3, 2, requires_grad=True)
    assert gather_with_gradient(rows) is rows


def test_features_can_be_evaluated():
    model = method().eval()
    samples = [BaseDataElement() for _ in range(4)]
    (images,) = views(number=1)
    for sample, row in zip(
        model([images], samples, mode='predict'),
        model.backbone(images)[0].flatten(1),
        strict=True,
    ):
        torch.testing.assert_close(sample.feature, row)
