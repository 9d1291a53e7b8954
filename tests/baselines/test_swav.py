"""SwAV: loss and gradient against a loop; queue, views, bad settings."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmselfsup.models.losses import SwAVLoss

from ahpcl.baselines import SwappedPredictionLoss
from ahpcl.core import sinkhorn

BATCH, DIM = 6, 4


def rows(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(number, DIM, generator=generator), dim=1)


def make(**settings):
    torch.manual_seed(3)
    loss = SwappedPredictionLoss(
        **dict(dict(feat_dim=DIM, num_prototypes=5), **settings)
    )
    loss.normalise_prototypes()
    return loss


def by_loops(features, weight, views, assigned, codes, queue=None):
    """Equations 1 and 2, one image and one prototype at a time."""
    total, terms = 0.0, 0
    for number, a in enumerate(assigned):
        scores = features[a * BATCH : (a + 1) * BATCH] @ weight.t()
        if queue is not None:
            scores = torch.cat([queue[number] @ weight.t(), scores])
        q = sinkhorn(scores.detach())[-BATCH:]
        for v in range(views):
            if v == a:
                continue
            for i in range(BATCH):
                z = features[v * BATCH + i] @ weight.t() / 0.1
                p = z.exp() / z.exp().sum()
                code = q[i]
                if codes == 'hard':
                    code = torch.eye(5)[int(q[i].argmax())]
                total = total - sum(code[k] * p[k].log() for k in range(5))
                terms += 1
    return total / terms


@pytest.mark.parametrize('codes', ['soft', 'hard'])
@pytest.mark.parametrize('views', [2, 5])
def test_loss_and_gradient_equal_a_loop(views, codes):
    loss = make(codes=codes)
    features = rows(views * BATCH).requires_grad_()
    found, hits = loss(features, views)
    found.backward()
    twin = features.detach().clone().requires_grad_()
    weight = loss.prototypes.weight.detach().clone().requires_grad_()
    expected = by_loops(twin, weight, views, (0, 1), codes)
    expected.backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(features.grad, twin.grad)
    torch.testing.assert_close(loss.prototypes.weight.grad, weight.grad)
    assert 0 <= hits <= 100


def test_equals_the_host_where_that_is_right():
    loss = make()
    host = SwAVLoss(feat_dim=DIM, num_prototypes=5, num_crops=[2, 3])
    host.load_state_dict(loss.state_dict())
    features = rows(5 * BATCH)
    torch.testing.assert_close(loss(features, 5)[0], host(features))


def test_a_step_moves_the_prototypes_as_the_gradient_says():
    loss = make()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.5)
    before = loss.prototypes.weight.detach().clone()
    weight = before.clone().requires_grad_()
    by_loops(rows(2 * BATCH), weight, 2, (0, 1), 'soft').backward()
    loss(rows(2 * BATCH), 2)[0].backward()
    optimizer.step()
    torch.testing.assert_close(
        loss.prototypes.weight.detach(), before - 0.5 * weight.grad
    )
    # Length 1 again at the next step.
    loss(rows(2 * BATCH), 2)
    torch.testing.assert_close(
        loss.prototypes.weight.norm(dim=1), torch.ones(5)
    )


def test_the_queue_is_used_once_it_is_full():
    loss = make(queue_len=9)
    loss.queue_started = True
    first, second, third = (rows(2 * BATCH, seed) for seed in (1, 2, 3))
    weight = loss.prototypes.weight.detach()
    alone = by_loops(first, weight, 2, (0, 1), 'soft')
    torch.testing.assert_close(loss(first, 2)[0], alone)
    alone = by_loops(second, weight, 2, (0, 1), 'soft')  # 6 of 9 so far
    torch.testing.assert_close(loss(second, 2)[0], alone)
    # The newest in front: the second batch, then half of the first.
    expected = torch.stack(
        [
            torch.cat([second.chunk(2)[v], first.chunk(2)[v]])[:9]
            for v in range(2)
        ]
    )
    assert torch.equal(loss.queue, expected)
    found, _ = loss(third, 2)
    together = by_loops(third, weight, 2, (0, 1), 'soft', expected)
    torch.testing.assert_close(found, together)
    assert abs(found - by_loops(third, weight, 2, (0, 1), 'soft')) > 1e-4


def test_a_queue_that_has_not_started_stays_empty():
    loss = make(queue_len=9)
    loss(rows(2 * BATCH), 2)
    assert not loss.queue.any()
    assert not any('queue' in name for name in loss.state_dict())


def test_several_sets_of_prototypes_are_averaged():
    loss = make(num_prototypes=[5, 3])
    features = rows(2 * BATCH)
    found, _ = loss(features, 2)
    parts = []
    for weight in loss.weights():
        single = make(num_prototypes=len(weight))
        single.prototypes.weight.data.copy_(weight)
        parts.append(single(features, 2)[0])
    torch.testing.assert_close(found, torch.stack(parts).mean())


def model(**loss):
    return MODELS.build(
        dict(
            type='SwAVBaseline',
            data_preprocessor=dict(type='mmselfsup.SelfSupDataPreprocessor'),
            backbone=dict(type='mmselfsup.ResNet', depth=18, out_indices=[4]),
            neck=dict(
                type='mmselfsup.SwAVNeck',
                in_channels=512,
                hid_channels=8,
                out_channels=DIM,
                norm_cfg=dict(type='BN1d'),
            ),
            head=dict(
                type='mmselfsup.SwAVHead',
                loss=dict(
                    type='SwappedPredictionLoss',
                    feat_dim=DIM,
                    **dict(dict(num_prototypes=5), **loss),
                ),
            ),
        )
    )


def test_views_of_one_size_share_a_forward():
    net = model()
    seen = []
    net.backbone.register_forward_pre_hook(
        lambda module, inputs: seen.append(tuple(inputs[0].shape))
    )
    large = [torch.rand(BATCH, 3, 32, 32) for _ in range(2)]
    small = [torch.rand(BATCH, 3, 20, 20) for _ in range(3)]
    found = net(large + small, mode='loss')
    assert seen == [(12, 3, 32, 32), (18, 3, 20, 20)]
    assert set(found) == {'loss', 'acc_swap'}
    with pytest.raises(ValueError, match='more views'):
        net(large[:1], mode='loss')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(num_prototypes=1), 'two prototypes'),
        (dict(codes='firm'), "'firm'"),
        (dict(temperature=0), 'temperature'),
        (dict(queue_len=-1), 'queue_len'),
        (dict(crops_for_assign=()), 'crops_for_assign'),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_settings_that_do_not_fit_the_data():
    net = model(num_prototypes=40, queue_len=30)
    shapes = [(3, 32, 32)] * 2
    net.check_training(num_images=30, batch_size=10, view_shapes=shapes)
    with pytest.raises(ValueError, match='got 40'):
        net.check_training(num_images=30, batch_size=9, view_shapes=shapes)
    with pytest.raises(ValueError, match='got 30'):
        net.check_training(num_images=29, batch_size=10, view_shapes=shapes)
    with pytest.raises(ValueError, match='crops_for_assign'):
        make(crops_for_assign=(0, 2))(rows(2 * BATCH), 2)
