import copy

import pytest
import torch
import torch.nn.functional as F
from mmselfsup.structures import SelfSupDataSample

from ahpcl.core import info_nce
from thin_ahpcl import BATCH, batch, build, hierarchy


def test_key_encoder_starts_as_the_query_encoder():
    model = build()
    ours = list(model.backbone.state_dict().values())
    ours += list(model.neck.state_dict().values())
    for query, key in zip(
        ours, model.encoder_k.state_dict().values(), strict=True
    ):
        assert torch.equal(query, key)
    assert not any(p.requires_grad for p in model.encoder_k.parameters())


def test_momentum_update_is_that_of_the_paper():
    model = build()
    model.start_training(seed=0, iteration=1)
    before = [p.clone() for p in model.encoder_k.parameters()]
    queries = [*model.backbone.parameters(), *model.neck.parameters()]
    with torch.no_grad():
        for parameter in queries:
            parameter.add_(torch.randn_like(parameter))
    model.loss(*batch())
    for old, query, key in zip(
        before, queries, model.encoder_k.parameters(), strict=True
    ):
        torch.testing.assert_close(key, 0.9 * old + 0.1 * query.detach())


def test_loss_is_info_nce_of_the_encoders_and_fills_the_queue():
    model = build(shuffle_bn=False).train()
    twin = copy.deepcopy(model)
    views, samples = batch()
    results = model.loss(views, samples)
    query = F.normalize(twin.neck(twin.backbone(views[0]))[0])
    with torch.no_grad():
        key_backbone, key_neck = twin.encoder_k
        key = F.normalize(key_neck(key_backbone(views[1]))[0])
    loss, accuracy = info_nce(query, key, twin.queue.features)
    assert set(results) == {'loss_inst', 'acc_inst'}
    torch.testing.assert_close(results['loss_inst'], loss)
    torch.testing.assert_close(results['acc_inst'], accuracy)
    torch.testing.assert_close(model.queue.features[:, :BATCH], key.t())
    torch.testing.assert_close(
        model.queue.features[:, BATCH:], twin.queue.features[:, BATCH:]
    )


def test_shuffling_does_not_mix_the_keys_up():
    shuffled = build(shuffle_bn=True).eval()
    straight = build(shuffle_bn=False).eval()
    straight.load_state_dict(shuffled.state_dict())
    views, samples = batch()
    torch.testing.assert_close(
        shuffled.loss(views, samples)['loss_inst'],
        straight.loss(views, samples)['loss_inst'],
    )


def test_prototypes_add_their_loss_and_accuracies():
    model = build().eval()
    twin = copy.deepcopy(model)
    views, samples = batch()
    model.head.set_prototypes(hierarchy(5, 3), {5: 0.1, 3: 0.2})
    results = model.loss(views, samples)
    assert set(results) == {
        'loss_inst',
        'loss_proto',
        'acc_inst',
        'acc_proto',
        'acc_proto_k5',
        'acc_proto_k3',
    }
    query = F.normalize(twin.neck(twin.backbone(views[0]))[0])
    expected = []
    for level in model.head.hierarchy.levels:
        logits = query @ level.centroids.t() / level.concentration
        smoothing = {5: 0.1, 3: 0.2}[level.num_clusters]
        expected.append(
            F.cross_entropy(
                logits, level.assignments, label_smoothing=smoothing
            )
        )
    torch.testing.assert_close(
        results['loss_proto'], torch.stack(expected).mean()
    )
    assert results['loss_proto'].requires_grad
    assert not results['acc_proto'].requires_grad


def test_weight_of_the_prototype_loss():
    views, samples = batch()
    losses = []
    for weight in (1.0, 0.25):
        torch.manual_seed(0)
        model = build(head=dict(type='HPCLHead', proto_weight=weight)).eval()
        model.head.set_prototypes(hierarchy(5))
        losses.append(model.loss(views, samples)['loss_proto'])
    torch.testing.assert_close(losses[1], 0.25 * losses[0])


def test_negatives_depend_on_seed_and_iteration():
    head = dict(
        type='HPCLHead', loss_proto=dict(type='ProtoNCELoss', num_negatives=2)
    )
    model = build(head=head).eval()
    model.head.set_prototypes(hierarchy(40))
    views, samples = batch()

    def loss(seed, iteration):
        model.start_training(seed, iteration)
        return float(model.loss(views, samples)['loss_proto'].detach())

    first = loss(0, 5)
    assert loss(0, 5) == first
    assert loss(0, 6) != first
    assert loss(1, 5) != first


def test_bfloat16_reaches_the_encoders_only():
    model = build().train()
    model.head.set_prototypes(hierarchy(5))
    views, samples = batch()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert model.extract_feat(views)[0].dtype == torch.bfloat16
        results = model.loss(views, samples)
    assert all(v.dtype == torch.float32 for v in results.values())
    assert model.queue.features.dtype == torch.float32


def test_predict_and_keys():
    model = build().eval()
    views, samples = batch()
    predicted = model.predict(views, samples)
    maps = model.extract_feat(views[0])[0]
    torch.testing.assert_close(
        torch.stack([s.feature for s in predicted]), maps.mean((2, 3))
    )
    keys = model.extract_keys(views)
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(BATCH))


def test_clear_errors():
    model = build()
    views, samples = batch()
    with pytest.raises(ValueError, match='two views'):
        model.loss(views[:1], samples)
    model.head.set_prototypes(hierarchy(5))
    with pytest.raises(ValueError, match='sample_idx'):
        model.loss(views, [SelfSupDataSample() for _ in range(BATCH)])
    with pytest.raises(ValueError, match=r'momentum in \[0, 1\).*1.5'):
        build(momentum=1.5)
    with pytest.raises(ValueError, match="got 'both'"):
        build(
            head=dict(
                type='HPCLHead',
                loss_proto=dict(type='ProtoNCELoss', negatives='both'),
            )
        )
