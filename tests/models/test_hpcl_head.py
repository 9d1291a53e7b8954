"""Weights and selection of the head."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS

from ahpcl.core import build_hierarchy

BATCH, DIM, QUEUE = 6, 8, 20


def unit(*shape, seed):
    source = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=source), dim=-1)


def nested(linkage='agglomerative', counts=(12, 6, 3)):
    return build_hierarchy(unit(80, DIM, seed=0), counts, linkage=linkage)


def run(hierarchy=None, seed=0, **settings):
    """Query (a leaf), and what a head makes of it."""
    head = MODELS.build(dict(type='HPCLHead', **settings))
    head.set_prototypes(hierarchy)
    query = unit(BATCH, DIM, seed=1).requires_grad_()
    results = head(
        query,
        unit(BATCH, DIM, seed=2),
        unit(QUEUE, DIM, seed=3).t(),
        torch.arange(BATCH),
        torch.Generator().manual_seed(seed),
    )
    return query, results


def test_instance_weight_0_leaves_prototype_contrast_alone():
    _, full = run(nested())
    query, results = run(nested(), inst_weight=0.0)
    assert results['loss_inst'] == 0
    assert not results['loss_inst'].requires_grad
    assert results['acc_inst'] == full['acc_inst']
    torch.testing.assert_close(results['loss_proto'], full['loss_proto'])
    (found,) = torch.autograd.grad(sum_losses(results), query)
    query, full = run(nested())
    (expected,) = torch.autograd.grad(full['loss_proto'], query)
    torch.testing.assert_close(found, expected)


def test_instance_weight_scales_the_loss_once_there_are_prototypes():
    _, full = run(nested())
    _, half = run(nested(), inst_weight=0.5)
    torch.testing.assert_close(half['loss_inst'], 0.5 * full['loss_inst'])
    # In the warm-up there is nothing else to learn from.
    _, warm = run(inst_weight=0.0)
    torch.testing.assert_close(warm['loss_inst'], full['loss_inst'])
    assert warm['loss_inst'].requires_grad


def test_prototype_weight_0_watches_only():
    _, full = run(nested())
    _, results = run(nested(), proto_weight=0.0)
    assert results['loss_proto'] == 0
    assert not results['loss_proto'].requires_grad
    for name in ('acc_proto', 'acc_proto_k12', 'acc_proto_k3', 'acc_inst'):
        assert results[name] == full[name]


@pytest.mark.parametrize(
    'weights',
    [
        dict(inst_weight=-1.0),
        dict(proto_weight=-0.5),
        dict(inst_weight=0.0, proto_weight=0.0),
    ],
)
def test_weights_that_cannot_train_are_refused(weights):
    with pytest.raises(ValueError, match='inst_weight and proto_weight'):
        MODELS.build(dict(type='HPCLHead', **weights))


def test_selection_changes_losses_and_no_accuracy():
    _, full = run(nested())
    for kinds, changed in (
        (dict(instances=True, prototypes=False), {'loss_inst'}),
        (dict(instances=False, prototypes=True), {'loss_proto'}),
        (dict(), {'loss_inst', 'loss_proto'}),
    ):
        selection = dict(type='HierarchicalSelection', **kinds)
        _, results = run(nested(), selection=selection)
        assert results.keys() == full.keys()
        differ = {n for n in full if not torch.equal(results[n], full[n])}
        assert differ == changed
        assert all(results[n] < full[n] for n in changed)  # fewer negatives


def test_selection_is_drawn_by_the_generator():
    selection = dict(type='HierarchicalSelection')
    first = run(nested(), selection=selection)[1]['loss_inst']
    again = run(nested(), selection=selection)[1]['loss_inst']
    other = run(nested(), seed=1, selection=selection)[1]['loss_inst']
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_selection_waits_for_the_prototypes():
    selection = dict(type='HierarchicalSelection')
    torch.testing.assert_close(run(selection=selection)[1], run()[1])


def test_one_draw_serves_all_views_of_an_image():
    head = MODELS.build(
        dict(type='HPCLHead', selection=dict(type='HierarchicalSelection'))
    )
    head.set_prototypes(nested())
    query, key = unit(BATCH, DIM, seed=1), unit(BATCH, DIM, seed=2)
    args = (unit(QUEUE, DIM, seed=3).t(), torch.arange(BATCH))
    one = head(query, key, *args, torch.Generator().manual_seed(0))
    two = head(
        [query, query], [[key], [key]], *args, torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(one, two)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_selection_on_a_gpu_draws_there_from_the_seed_of_the_cpu():
    head = MODELS.build(
        dict(type='HPCLHead', selection=dict(type='HierarchicalSelection'))
    ).cuda()
    head.set_prototypes(nested().to('cuda:0'))
    args = (
        unit(BATCH, DIM, seed=1).cuda().requires_grad_(),
        unit(BATCH, DIM, seed=2).cuda(),
        unit(QUEUE, DIM, seed=3).t().cuda(),
        torch.arange(BATCH).cuda(),
    )
    first, again, other = (
        head(*args, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    torch.testing.assert_close(first, again)
    assert first['loss_inst'] != other['loss_inst']
    (first['loss_inst'] + first['loss_proto']).backward()
    assert args[0].grad.isfinite().all()


def test_selection_of_prototypes_needs_nested_levels():
    head = MODELS.build(
        dict(type='HPCLHead', selection=dict(type='HierarchicalSelection'))
    )
    with pytest.raises(ValueError, match=r"'divisive'.*got 'indep"):
        head.check_linkage('independent')
    with pytest.raises(ValueError, match='by their parents'):
        head.set_prototypes(nested('independent'))
    for linkage in ('agglomerative', 'divisive'):
        head.check_linkage(linkage)
        head.set_prototypes(nested(linkage))
    head.set_prototypes(nested('independent', (7,)))  # nothing above it
    keys_only = dict(type='HierarchicalSelection', prototypes=False)
    head = MODELS.build(dict(type='HPCLHead', selection=keys_only))
    head.check_linkage('independent')
    head.set_prototypes(nested('independent'))
    MODELS.build(dict(type='HPCLHead')).check_linkage('independent')
    with pytest.raises(ValueError, match='got neither'):
        MODELS.build(dict(keys_only, instances=False))


def sum_losses(results):
    return sum(v for name, v in results.items() if 'loss' in name)


@pytest.mark.parametrize('count', [None, 2])
def test_the_signal_is_shown_and_not_learnt_from(count):
    """Loss of one kind, accuracy of the other, draws of neither moved."""
    kinds = {
        name: dict(
            type='ProtoNCELoss',
            negatives=name,
            # Draws differ with the count, so that a moved generator shows.
            num_negatives=count,
        )
        for name in ('unique', 'batch')
    }
    for own, other in (('unique', 'batch'), ('batch', 'unique')):
        query, plain = run(nested(), loss_proto=kinds[own])
        (expected,) = torch.autograd.grad(plain['loss_proto'], query)
        query, found = run(
            nested(), loss_proto=kinds[own], signal=kinds[other]
        )
        (gradient,) = torch.autograd.grad(found['loss_proto'], query)
        assert torch.equal(found['loss_proto'], plain['loss_proto'])
        assert torch.equal(gradient, expected)
        if count is None:
            _, shown = run(nested(), loss_proto=kinds[other])
            for name in found:
                if name.startswith('acc_proto'):
                    assert found[name] == shown[name], name
