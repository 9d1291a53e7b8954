"""Multi-crop and the symmetric loss: against an obvious loop over views."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from mmselfsup.structures import SelfSupDataSample

from ahpcl.core import PrototypeHierarchy, PrototypeLevel
from ahpcl.models.views import encode_by_size, plan_views

BATCH, DIM = 5, 8


def build(**changes):
    """In evaluation mode, so that no view meets another in batch norm."""
    model = MODELS.build(
        dict(
            type='AHPCL',
            queue_len=12,
            feat_dim=DIM,
            momentum=0.5,
            backbone=dict(
                type='mmcls.ResNet_CIFAR',
                depth=18,
                stem_channels=8,
                base_channels=8,
                out_indices=(3,),
                norm_cfg=dict(type='BN'),
            ),
            neck=dict(
                type='MoCoV2Neck',
                in_channels=64,
                hid_channels=16,
                out_channels=DIM,
            ),
            head=dict(type='HPCLHead'),
        )
        | changes
    )
    model.init_weights()
    # The first step would make the key encoder a copy of the query encoder.
    model.start_training(seed=0, iteration=1)
    with torch.no_grad():  # key and query encoder are to differ
        for parameter in model.encoder_k.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    levels = []
    for count in (4, 3):
        source = torch.Generator().manual_seed(count)
        levels.append(
            PrototypeLevel(
                F.normalize(torch.randn(count, DIM, generator=source)),
                torch.arange(BATCH) % count,
                0.1 + 0.1 * torch.rand(count, generator=source),
            )
        )
    model.head.set_prototypes(PrototypeHierarchy(levels), {4: 0.1})
    return model.eval()


def batch(*sizes):
    source = torch.Generator().manual_seed(0)
    views = [
        torch.randn(BATCH, 3, size, size, generator=source) for size in sizes
    ]
    samples = []
    for index in range(BATCH):
        sample = SelfSupDataSample()
        sample.sample_idx = InstanceData(value=torch.tensor([index]))
        samples.append(sample)
    return views, samples


def loop(model, views, symmetric):
    """Loss, accuracies of every view and keys; one view after the other."""

    def unit(backbone, neck, images):
        return F.normalize(neck(backbone(images))[0])

    with torch.no_grad():
        queries = [*model.backbone.parameters(), *model.neck.parameters()]
        for key, query in zip(
            model.encoder_k.parameters(), queries, strict=True
        ):
            key.mul_(0.5).add_(query, alpha=0.5)
        keys = {
            view: unit(*model.encoder_k, views[view])
            for view in ([0, 1] if symmetric else [1])
        }
    instance, prototype, acc_inst, acc_proto = [], [], {}, {}
    for number, view in enumerate(views):
        targets = [key for other, key in keys.items() if other != number]
        if not targets or (number in keys and not symmetric):
            continue
        q = unit(model.backbone, model.neck, view)
        losses, hits = [], []
        for key in targets:
            positive = (q * key).sum(1, keepdim=True)
            logits = torch.cat([positive, q @ model.queue.features], 1) / 0.2
            losses.append(-logits.log_softmax(1)[:, 0].mean())
            hits.append((logits.argmax(1) == 0).float().mean() * 100)
        instance.append(sum(losses) / len(losses))
        acc_inst[number] = sum(hits) / len(hits)
        losses, hits = [], []
        for level in model.head.hierarchy:
            logits = q @ level.centroids.t() / level.concentration
            smoothing = {4: 0.1, 3: 0.0}[level.num_clusters]
            losses.append(
                F.cross_entropy(
                    logits, level.assignments, label_smoothing=smoothing
                )
            )
            right = logits.argmax(1) == level.assignments
            hits.append(right.float().mean() * 100)
        prototype.append(sum(losses) / len(losses))
        acc_proto[number] = sum(hits) / len(hits)
    return (
        dict(
            loss_inst=sum(instance) / len(instance),
            loss_proto=sum(prototype) / len(prototype),
        ),
        acc_inst,
        acc_proto,
        keys,
    )


@pytest.mark.parametrize(
    ('sizes', 'symmetric', 'scored'),
    [
        ((16, 16), False, [0]),
        ((16, 16), True, [0, 1]),
        ((16, 16, 8, 8, 12), False, [0]),
        ((16, 16, 16, 8), False, [0, 2]),
        ((16, 16, 8, 16, 8), True, [0, 1, 3]),
    ],
)
def test_loss_and_gradient_are_those_of_a_loop_over_views(
    sizes, symmetric, scored
):
    model = build(symmetric=symmetric, shuffle_bn=False)
    twin = copy.deepcopy(model)
    views, samples = batch(*sizes)
    results = model.loss(views, samples)
    losses, acc_inst, acc_proto, keys = loop(twin, views, symmetric)
    for name, loss in losses.items():
        torch.testing.assert_close(results[name], loss)
    for name, values in (('acc_inst', acc_inst), ('acc_proto', acc_proto)):
        expected = sum(values[view] for view in scored) / len(scored)
        torch.testing.assert_close(results[name], expected)
    (results['loss_inst'] + results['loss_proto']).backward()
    sum(losses.values()).backward()
    for part in ('backbone', 'neck'):
        for (name, ours), theirs in zip(
            getattr(model, part).named_parameters(),
            getattr(twin, part).parameters(),
            strict=True,
        ):
            torch.testing.assert_close(
                ours.grad, theirs.grad, atol=1e-5, rtol=1e-4, msg=name
            )
    # One key per image enters the queue, that of the second view.
    torch.testing.assert_close(model.queue.features[:, :BATCH], keys[1].t())
    assert int(model.queue.position) == BATCH


def test_symmetric_shuffles_do_not_mix_the_keys_up():
    shuffled = build(symmetric=True)
    straight = build(symmetric=True, shuffle_bn=False)
    straight.load_state_dict(shuffled.state_dict())
    views, samples = batch(16, 16, 8)
    torch.testing.assert_close(
        shuffled.loss(views, samples), straight.loss(views, samples)
    )


def test_views_of_one_size_take_one_forward():
    model = build(symmetric=True)
    seen = {'query': [], 'key': []}
    model.backbone.register_forward_pre_hook(
        lambda _, args: seen['query'].append(tuple(args[0].shape))
    )
    model.encoder_k[0].register_forward_pre_hook(
        lambda _, args: seen['key'].append(tuple(args[0].shape))
    )
    model.loss(*batch(16, 16, 8, 12, 8))
    assert seen['query'] == [
        (2 * BATCH, 3, 16, 16),
        (2 * BATCH, 3, 8, 8),
        (BATCH, 3, 12, 12),
    ]
    assert seen['key'] == [(BATCH, 3, 16, 16)] * 2


def test_encoding_by_size_keeps_the_order():
    views = [torch.rand(2, 1, size, size) for size in (4, 2, 4, 3, 2)]
    found = encode_by_size(lambda x: x.flatten(1)[:, :3], views)
    for features, view in zip(found, views, strict=True):
        assert torch.equal(features, view.flatten(1)[:, :3])


def test_bfloat16_reaches_the_encoders_only():
    model = build(symmetric=True).train()
    views, samples = batch(16, 16, 8)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        results = model.loss(views, samples)
    assert all(v.dtype == torch.float32 for v in results.values())
    assert model.queue.features.dtype == torch.float32


def test_bad_views_are_refused_before_training():
    with pytest.raises(ValueError, match='two views of every image, got 1'):
        plan_views([(8, 8)], False)
    with pytest.raises(ValueError, match='largest and of one size, got 8x8'):
        plan_views([(8, 8), (16, 16)], False)
    with pytest.raises(ValueError, match='two large crops first'):
        plan_views([(16, 16), (16, 16), (20, 20)], False)
    model = build()
    large = (3, 16, 16)
    model.check_training(12, BATCH, [large, large, (3, 8, 8)])
    with pytest.raises(ValueError, match='largest'):
        model.check_training(12, BATCH, [(3, 8, 8), large])
    with pytest.raises(ValueError, match='two views'):
        model.loss(batch(16)[0][0])
