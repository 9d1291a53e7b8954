"""HCSC's selection: loops from the paper, and the published probabilities."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS

from ahpcl.core import PrototypeHierarchy, PrototypeLevel, info_nce, proto_nce
from ahpcl.core.contrast.selection import (
    draw_negative_mask,
    keep_probability,
    select_keys,
    select_prototypes,
)

PUBLISHED = Path(__file__).parent / 'data' / 'hcsc.npz'
COUNTS = (12, 8, 5)


@pytest.fixture(scope='module')
def published():
    with np.load(PUBLISHED) as data:
        return {name: torch.from_numpy(data[name]) for name in data.files}


@pytest.fixture(scope='module')
def hierarchy(published):
    return PrototypeHierarchy(
        PrototypeLevel(
            published[f'{count}/centroids'],
            published[f'{count}/assignments'],
            published[f'{count}/concentration'],
            parents=published.get(f'{count}/parents'),
        )
        for count in COUNTS
    )


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def slow_keep(points, centroids, phi, own):
    """1 - exp(s(z, c_own)) / sum_j exp(s(z, c_j)), s(z, c) = z . c / phi."""
    rows = []
    for cluster in own.tolist():
        row = []
        for point in points.tolist():
            scores = [
                dot(point, c) / temperature
                for c, temperature in zip(
                    centroids.tolist(), phi.tolist(), strict=True
                )
            ]
            total = sum(math.exp(score) for score in scores)
            row.append(1 - math.exp(scores[cluster]) / total)
        rows.append(row)
    return torch.tensor(rows)


# -- probabilities ------------------------------------------------------------


@pytest.mark.parametrize('block', [2**24, 30])
def test_keys_stay_with_the_probability_of_the_paper(
    published, hierarchy, block
):
    queue, index = published['queue'], published['index']
    for level in hierarchy:
        own = level.assignments[index]
        args = (queue.t(), level.centroids, level.concentration, own)
        found = keep_probability(*args, block=block)
        torch.testing.assert_close(found, slow_keep(*args))
        # The published code clamps its probabilities before the draw.
        theirs = published[f'{level.num_clusters}/keep_keys']
        torch.testing.assert_close(found.clamp(0, 0.999), theirs)


def test_prototypes_stay_with_the_probability_of_the_paper(
    published, hierarchy
):
    index = published['index']
    for fine, coarse in itertools.pairwise(hierarchy):
        parents = fine.parents[fine.assignments[index]]
        args = (
            fine.centroids,
            coarse.centroids,
            coarse.concentration,
            parents,
        )
        found = keep_probability(*args)
        torch.testing.assert_close(found, slow_keep(*args))
        negatives = published[f'{fine.num_clusters}/negatives']
        theirs = published[f'{fine.num_clusters}/keep_prototypes']
        torch.testing.assert_close(
            found[:, negatives].clamp(1e-4, 0.999), theirs
        )
        # Its last prototype is no candidate: range(max) for range(max + 1).
        assert fine.assignments.max() == fine.num_clusters - 1
        assert fine.num_clusters - 1 not in negatives


def test_probabilities_stay_in_bounds_at_tiny_temperatures():
    points = F.normalize(torch.randn(200, 6, generator=generator()))
    centroids = F.normalize(torch.randn(9, 6, generator=generator(1)))
    args = (points, centroids, torch.full((9,), 2e-4), torch.arange(9))
    found = keep_probability(*args)
    assert ((found >= 0) & (found <= 1)).all()
    # Every point belongs to its nearest cluster then.
    nearest = (points @ centroids.t()).argmax(1)
    assert torch.equal((1 - found).argmax(0), nearest)


# -- the draw -----------------------------------------------------------------


def test_draws_follow_their_probabilities():
    probability = torch.tensor([[0.0, 0.03, 0.3, 0.5, 0.9, 1.0]])
    source = generator(3)
    draws = 4000
    kept = sum(
        draw_negative_mask(probability, source).float() for _ in range(draws)
    )
    error = (probability * (1 - probability) / draws).sqrt()
    assert ((kept / draws - probability).abs() <= 4 * error).all()


def test_keys_and_prototypes_are_drawn_with_their_own_probabilities(
    published, hierarchy
):
    queue, index = published['queue'], published['index']
    fine, coarse = hierarchy[0], hierarchy[1]
    source, draws = generator(4), 3000
    kept_keys = torch.zeros(len(index), queue.shape[1])
    kept_prototypes = torch.zeros(len(index), fine.num_clusters)
    for _ in range(draws):
        kept_keys += select_keys(queue, fine, index, source)
        kept_prototypes += select_prototypes(
            fine, coarse, fine.parents, index, source
        )
    own = fine.assignments[index]
    for found, expected in (
        (
            kept_keys / draws,
            slow_keep(queue.t(), fine.centroids, fine.concentration, own),
        ),
        (
            kept_prototypes / draws,
            slow_keep(
                fine.centroids,
                coarse.centroids,
                coarse.concentration,
                fine.parents[own],
            ),
        ),
    ):
        error = (expected * (1 - expected) / draws).sqrt() + 1e-4
        assert ((found - expected).abs() <= 4.5 * error).all()


def test_the_generator_decides(published, hierarchy):
    queue, index = published['queue'], published['index']
    args = (queue, hierarchy[0], index)
    before = torch.get_rng_state()
    first = select_keys(*args, generator(0))
    assert torch.equal(first, select_keys(*args, generator(0)))
    assert not torch.equal(first, select_keys(*args, generator(1)))
    assert torch.equal(torch.get_rng_state(), before)


# -- the losses ---------------------------------------------------------------


def slow_nce(scores, positive, kept):
    """-log softmax among the positive and the kept negatives."""
    total = sum(
        math.exp(score)
        for j, score in enumerate(scores)
        if j == positive or kept[j]
    )
    return -(scores[positive] - math.log(total))


def slow_instance(query, key, queue, masks):
    losses = []
    for mask in masks:
        for row in range(len(query)):
            q = query[row].tolist()
            others = queue.t().tolist()
            scores = [dot(q, c) / 0.2 for c in [key[row].tolist(), *others]]
            kept = [True, *mask[row].tolist()]
            losses.append(slow_nce(scores, 0, kept))
    return sum(losses) / len(losses)


def slow_prototype(query, level, index, mask):
    losses = []
    for row in range(len(query)):
        q = query[row].tolist()
        scores = [
            dot(q, c) / phi
            for c, phi in zip(
                level.centroids.tolist(),
                level.concentration.tolist(),
                strict=True,
            )
        ]
        own = int(level.assignments[index[row]])
        losses.append(slow_nce(scores, own, mask[row].tolist()))
    return sum(losses) / len(losses)


def numeric_gradient(function, tensor, step=1e-5):
    gradient = torch.zeros_like(tensor)
    for i in range(tensor.numel()):
        shift = torch.zeros_like(tensor).flatten()
        shift[i] = step
        shift = shift.view_as(tensor)
        gradient.view(-1)[i] = (
            function(tensor + shift) - function(tensor - shift)
        ) / (2 * step)
    return gradient


def test_the_head_is_the_loop_of_the_paper(published, hierarchy):
    queue, index = published['queue'].double(), published['index']
    query = published['query'].double().requires_grad_()
    key = F.normalize(query.detach() + 0.3 * queue.t()[:4])
    head = MODELS.build(
        dict(type='HPCLHead', selection=dict(type='HierarchicalSelection'))
    )
    head.set_prototypes(hierarchy)
    results = head(query, key, queue, index, generator(7))
    # The same draws, in the same order.
    source = generator(7)
    masks = [select_keys(queue, level, index, source) for level in hierarchy]
    assert not all(mask.all() for mask in masks)
    parents = [
        select_prototypes(a, b, a.parents, index, source)
        for a, b in itertools.pairwise(hierarchy)
    ]
    # All prototypes of the coarsest level are negatives.
    parents.append(torch.ones(len(index), COUNTS[-1], dtype=torch.bool))
    assert not all(mask.all() for mask in parents[:-1])

    def instance(q):
        return slow_instance(q, key, queue, masks)

    def prototype(q):
        return sum(
            slow_prototype(q, level, index, mask)
            for level, mask in zip(hierarchy, parents, strict=True)
        ) / len(COUNTS)

    assert results['loss_inst'].item() == pytest.approx(instance(query))
    assert results['loss_proto'].item() == pytest.approx(
        prototype(query), rel=1e-6
    )
    for name, slow in (('loss_inst', instance), ('loss_proto', prototype)):
        (found,) = torch.autograd.grad(results[name], query, retain_graph=True)
        expected = numeric_gradient(slow, query.detach())
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_dropped_key_is_minus_infinity_and_not_zero(published):
    """The published code multiplies its logit by 0: a cosine of 0 remains."""
    queue = published['queue'].clone().requires_grad_()
    query, key = published['query'], published['query'].flip(0)
    kept = torch.rand(4, 16, generator=generator(1)) < 0.5
    loss, accuracy = info_nce(query, key, queue, negative_masks=[kept])
    logits = torch.cat([(query * key).sum(1, True), (query @ queue) * kept], 1)
    multiplied = F.cross_entropy(logits / 0.2, torch.zeros(4).long())
    assert loss < multiplied - 0.1
    # A key that nobody kept has no influence at all.
    kept[:, 3] = False
    loss, _ = info_nce(query, key, queue, negative_masks=[kept])
    loss.backward()
    assert queue.grad[:, 3].abs().max() == 0
    assert queue.grad.abs().max() > 0
    # The accuracy means the same with and without a selection.
    assert accuracy == info_nce(query, key, queue)[1]
    nothing, _ = info_nce(
        query, key, queue, negative_masks=[torch.zeros_like(kept)]
    )
    assert nothing == 0


def test_the_last_prototype_is_contrasted(published, hierarchy):
    """The published code leaves it out; it must pull at its centroid."""
    index, query = published['index'], published['query']
    fine = hierarchy[0]
    last = fine.num_clusters - 1
    assert last not in fine.assignments[index]
    centroids = fine.centroids.clone().requires_grad_()

    class Level:
        assignments = fine.assignments
        concentration = fine.concentration

    Level.centroids = centroids
    kept = torch.ones(4, fine.num_clusters, dtype=torch.bool)
    loss, _ = proto_nce(query, Level, index, negative_mask=kept)
    (gradient,) = torch.autograd.grad(loss, centroids)
    assert gradient[last].abs().max() > 1e-4
    kept[:, last] = False
    loss, _ = proto_nce(query, Level, index, negative_mask=kept)
    (gradient,) = torch.autograd.grad(loss, centroids)
    assert gradient[last].abs().max() == 0


@pytest.mark.parametrize('mode', ['unique', 'batch'])
def test_masks_follow_the_drawn_prototypes(published, hierarchy, mode):
    """With few drawn negatives the mask is still that of each prototype."""
    level, query = hierarchy[0], published['query']
    index = torch.tensor([0, 4, 9, 4])
    kept = torch.rand(4, 12, generator=generator(2)) < 0.5
    found, _ = proto_nce(
        query,
        level,
        index,
        negatives=mode,
        num_negatives=4,
        generator=generator(5),
        negative_mask=kept,
    )
    own = level.assignments[index].tolist()
    rest = [j for j in range(12) if j not in own]
    order = torch.randperm(len(rest), generator=generator(5))[:4]
    drawn = [rest[i] for i in order.tolist()]
    losses = []
    for row, q in enumerate(query.tolist()):
        names = own + drawn if mode == 'batch' else sorted(set(own)) + drawn
        positive = row if mode == 'batch' else names.index(own[row])
        scores = [
            dot(q, level.centroids[j].tolist()) / float(level.concentration[j])
            for j in names
        ]
        mask = [bool(kept[row, j]) for j in names]
        losses.append(slow_nce(scores, positive, mask))
    assert found.item() == pytest.approx(sum(losses) / 4, rel=1e-5)


def test_smoothing_is_spread_over_the_kept_prototypes(published, hierarchy):
    level, query, index = hierarchy[0], published['query'], published['index']
    kept = torch.rand(4, 12, generator=generator(6)) < 0.5
    query = query.clone().requires_grad_()
    found, _ = proto_nce(
        query, level, index, negative_mask=kept, label_smoothing=0.3
    )
    losses = []
    for row, own in enumerate(level.assignments[index].tolist()):
        names = [j for j in range(12) if j == own or kept[row, j]]
        logits = query[row] @ level.centroids[names].t()
        log_p = (logits / level.concentration[names]).log_softmax(0)
        target = torch.full((len(names),), 0.3 / len(names))
        target[names.index(own)] += 0.7
        losses.append(-(target * log_p).sum())
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(found, expected)
    gradients = [
        torch.autograd.grad(loss, query, retain_graph=True)[0]
        for loss in (found, expected)
    ]
    torch.testing.assert_close(*gradients)
    # With everything kept it is torch's own smoothing.
    everything = torch.ones_like(kept)
    torch.testing.assert_close(
        proto_nce(
            query, level, index, negative_mask=everything, label_smoothing=0.3
        ),
        proto_nce(query, level, index, label_smoothing=0.3),
    )


def test_wrong_masks_are_refused(published, hierarchy):
    query, queue = published['query'], published['queue']
    with pytest.raises(ValueError, match=r'\(4, 16\)'):
        info_nce(
            query, query, queue, negative_masks=[torch.ones(4, 15).bool()]
        )
    with pytest.raises(ValueError, match='at least one mask'):
        info_nce(query, query, queue, negative_masks=[])
    with pytest.raises(ValueError, match=r'bool.*\(4, 12'):
        proto_nce(
            query,
            hierarchy[0],
            published['index'],
            negative_mask=torch.ones(4, 12),
        )
