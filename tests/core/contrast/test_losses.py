import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from ahpcl.core.contrast.losses import info_nce, proto_nce, smoothing_factor


def unit(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(
        torch.randn(*shape, generator=generator, dtype=dtype), dim=-1
    )


def make_level(num_clusters, dim=8, num_images=60, seed=0):
    generator = torch.Generator().manual_seed(seed + 100)
    return SimpleNamespace(
        centroids=unit(num_clusters, dim, seed=seed),
        assignments=torch.randint(
            num_clusters, (num_images,), generator=generator
        ),
        concentration=0.1
        + 0.2
        * torch.rand(num_clusters, generator=generator, dtype=torch.float64),
    )


def slow_cross_entropy(scores, positive, smoothing=0.0):
    """-log softmax with a share of the target on every candidate."""
    total = sum(math.exp(s) for s in scores)
    loss = 0.0
    for j, s in enumerate(scores):
        weight = smoothing / len(scores)
        if j == positive:
            weight += 1 - smoothing
        loss -= weight * math.log(math.exp(s) / total)
    return loss


def slow_info_nce(query, key, queue, temperature):
    losses = []
    for q, k in zip(query.tolist(), key.tolist(), strict=True):
        candidates = [k] + queue.t().tolist()
        scores = [
            sum(x * y for x, y in zip(q, c, strict=True)) / temperature
            for c in candidates
        ]
        losses.append(slow_cross_entropy(scores, 0))
    return sum(losses) / len(losses)


def slow_proto_nce(query, level, sample_idx, mode, drawn, smoothing):
    """Candidates as lists of prototype numbers, one image at a time."""
    own = [int(level.assignments[i]) for i in sample_idx]
    losses = []
    for row, q in enumerate(query.tolist()):
        if mode == 'unique':
            candidates = sorted(set(own)) + drawn
            positive = candidates.index(own[row])
        else:
            candidates = own + drawn
            positive = row
        scores = []
        for j in candidates:
            c = level.centroids[j].tolist()
            dot = sum(x * y for x, y in zip(q, c, strict=True))
            scores.append(dot / float(level.concentration[j]))
        losses.append(slow_cross_entropy(scores, positive, smoothing))
    return sum(losses) / len(losses)


def numeric_gradient(function, tensor, step=1e-6):
    gradient = torch.zeros_like(tensor)
    for i in range(tensor.numel()):
        shift = torch.zeros_like(tensor).flatten()
        shift[i] = step
        shift = shift.view_as(tensor)
        high, low = function(tensor + shift), function(tensor - shift)
        gradient.view(-1)[i] = (high - low) / (2 * step)
    return gradient


# -- info_nce ---------------------------------------------------------------


@pytest.mark.parametrize('temperature', [0.07, 0.2, 1.0])
def test_info_nce_equals_slow_loop_with_gradients(temperature):
    query, key = unit(4, 5, seed=1), unit(4, 5, seed=2)
    queue = unit(7, 5, seed=3).t()
    query.requires_grad_()
    key.requires_grad_()
    loss, _ = info_nce(query, key, queue, temperature=temperature)
    loss.backward()
    expected = slow_info_nce(query, key, queue, temperature)
    assert loss.item() == pytest.approx(expected, abs=1e-12)
    by_query = numeric_gradient(
        lambda t: slow_info_nce(t, key, queue, temperature), query.detach()
    )
    by_key = numeric_gradient(
        lambda t: slow_info_nce(query, t, queue, temperature), key.detach()
    )
    torch.testing.assert_close(query.grad, by_query, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(key.grad, by_key, atol=1e-7, rtol=1e-6)


def test_info_nce_float32_is_close_to_slow_loop():
    query, key = unit(16, 32, seed=1), unit(16, 32, seed=2)
    queue = unit(20, 32, seed=3).t()
    loss, _ = info_nce(query.float(), key.float(), queue.float())
    assert loss.dtype == torch.float32
    expected = slow_info_nce(query, key, queue, 0.2)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_info_nce_accuracy_counts_by_hand():
    query = torch.eye(4)
    key = torch.eye(4)
    key[3] = torch.eye(4)[0]  # similarity 0
    queue = torch.stack([torch.eye(4)[3], torch.eye(4)[2]]).t()
    # 0, 1: right; 2: tie with the queue; 3: the queue is nearer.
    loss, accuracy = info_nce(query, key, queue)
    assert accuracy.item() == pytest.approx(50.0)
    assert loss.ndim == accuracy.ndim == 0
    assert not accuracy.requires_grad


@pytest.mark.parametrize('dim', [3, 64, 129])
def test_info_nce_of_collapsed_features_is_not_accurate(dim):
    query = unit(1, dim, seed=4, dtype=torch.float32).expand(32, dim)
    _, accuracy = info_nce(query, query, query.t())
    assert accuracy.item() == 0


def test_info_nce_without_a_queue():
    query = torch.eye(3)
    loss, accuracy = info_nce(query, query, torch.empty(3, 0))
    assert loss.item() == 0
    assert accuracy.item() == 100


@pytest.mark.parametrize(
    ('query', 'key', 'queue', 'temperature', 'message'),
    [
        ((4,), (4,), (4, 2), 0.2, r'query of shape \(B, D\)'),
        ((0, 4), (0, 4), (4, 2), 0.2, 'not empty'),
        ((3, 4), (2, 4), (4, 2), 0.2, r'one key for each query.*\(2, 4\)'),
        ((3, 4), (3, 4), (2, 4), 0.2, r'D=4, got \(2, 4\)'),
        ((3, 4), (3, 4), (4, 2), 0.0, 'above 0.*got 0.0'),
        ((3, 4), (3, 4), (4, 2), math.nan, 'got nan'),
    ],
)
def test_info_nce_bad_input(query, key, queue, temperature, message):
    with pytest.raises(ValueError, match=message):
        info_nce(
            torch.ones(query),
            torch.ones(key),
            torch.ones(queue),
            temperature=temperature,
        )


# -- proto_nce --------------------------------------------------------------


@pytest.mark.parametrize('mode', ['unique', 'batch'])
@pytest.mark.parametrize('smoothing', [0.0, 0.15])
@pytest.mark.parametrize('num_clusters', [1, 2, 5, 40])
def test_proto_nce_all_candidates_equals_slow_loop(
    mode, smoothing, num_clusters
):
    level = make_level(num_clusters)
    index = torch.tensor([3, 3, 17, 59, 0, 8])
    query = unit(6, 8, seed=5).requires_grad_()
    own = {int(level.assignments[i]) for i in index}
    rest = [j for j in range(num_clusters) if j not in own]

    def slow(q):
        return slow_proto_nce(q, level, index, mode, rest, smoothing)

    loss, _ = proto_nce(
        query, level, index, negatives=mode, label_smoothing=smoothing
    )
    loss.backward()
    assert loss.item() == pytest.approx(slow(query), abs=1e-11)
    torch.testing.assert_close(
        query.grad,
        numeric_gradient(slow, query.detach()),
        atol=1e-7,
        rtol=1e-6,
    )


class Spy:
    """Sees which prototypes a call touches, through their gradient."""

    def __init__(self, level):
        self.level = SimpleNamespace(**vars(level))
        self.level.centroids = level.centroids.clone().requires_grad_()

    def touched(self, loss):
        (gradient,) = torch.autograd.grad(
            loss, self.level.centroids, retain_graph=True
        )
        return gradient.abs().sum(1).nonzero().squeeze(1).tolist()


@pytest.mark.parametrize('mode', ['unique', 'batch'])
@pytest.mark.parametrize('num_negatives', [0, 1, 7, 30])
def test_proto_nce_sampled_equals_slow_loop(mode, num_negatives):
    spy = Spy(make_level(40))
    index = torch.tensor([3, 3, 17, 59, 0, 8])
    query = unit(6, 8, seed=5).requires_grad_()
    own = {int(spy.level.assignments[i]) for i in index}
    loss, _ = proto_nce(
        query,
        spy.level,
        index,
        negatives=mode,
        num_negatives=num_negatives,
        label_smoothing=0.1,
        generator=torch.Generator().manual_seed(1),
    )
    drawn = [j for j in spy.touched(loss) if j not in own]
    assert len(drawn) == num_negatives

    def slow(q):
        return slow_proto_nce(q, spy.level, index, mode, drawn, 0.1)

    assert loss.item() == pytest.approx(slow(query), abs=1e-11)
    (gradient,) = torch.autograd.grad(loss, query)
    torch.testing.assert_close(
        gradient,
        numeric_gradient(slow, query.detach()),
        atol=1e-7,
        rtol=1e-6,
    )


def test_proto_nce_float32_is_close_to_slow_loop():
    level = make_level(40)
    index = torch.arange(20)
    query = unit(20, 8, seed=5)
    own = {int(level.assignments[i]) for i in index}
    rest = [j for j in range(40) if j not in own]
    single = SimpleNamespace(
        centroids=level.centroids.float(),
        assignments=level.assignments,
        concentration=level.concentration.float(),
    )
    for mode in ('unique', 'batch'):
        loss, _ = proto_nce(query.float(), single, index, negatives=mode)
        expected = slow_proto_nce(query, level, index, mode, rest, 0.0)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_pcl_recipe_is_the_papers_proto_nce_when_clusters_differ():
    """PCL eq. 11: one positive and r negatives for every image."""
    level = make_level(12, num_images=12)
    level.assignments = torch.arange(12)
    query = unit(5, 8, seed=6)
    index = torch.tensor([2, 11, 4, 0, 7])
    loss, _ = proto_nce(query, level, index, negatives='batch')
    expected = 0.0
    for q, s in zip(query, index.tolist(), strict=True):
        terms = [
            math.exp(float(q @ level.centroids[j] / level.concentration[j]))
            for j in range(12)
        ]
        expected -= math.log(terms[s] / sum(terms)) / len(query)
    assert loss.item() == pytest.approx(expected, abs=1e-12)
    # With distinct clusters the two modes are one.
    unique, _ = proto_nce(query, level, index)
    assert loss.item() == pytest.approx(unique.item(), abs=1e-12)


def test_draws_are_uniform_without_repetition_and_repeatable():
    spy = Spy(make_level(10, num_images=4))
    spy.level.assignments = torch.tensor([0, 0, 5, 5])
    query, index = unit(4, 8, seed=5), torch.arange(4)
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(10)
    for _ in range(400):
        loss, _ = proto_nce(
            query, spy.level, index, num_negatives=2, generator=generator
        )
        touched = spy.touched(loss)
        assert len(touched) == 4
        counts[touched] += 1
    assert counts[[0, 5]].tolist() == [400, 400]
    others = counts[[1, 2, 3, 4, 6, 7, 8, 9]]
    # 100 expected each, standard deviation 8.7
    assert others.min() > 65 and others.max() < 135

    def once(seed):
        return proto_nce(
            query,
            spy.level,
            index,
            num_negatives=2,
            generator=torch.Generator().manual_seed(seed),
        )[0].item()

    assert once(3) == once(3)
    assert len({once(seed) for seed in range(8)}) > 1


@pytest.mark.parametrize('mode', ['unique', 'batch'])
def test_global_random_state_is_left_alone(mode):
    level = make_level(40)
    before = torch.random.get_rng_state()
    proto_nce(
        unit(3, 8),
        level,
        torch.arange(3),
        negatives=mode,
        num_negatives=4,
        generator=torch.Generator().manual_seed(0),
    )
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize('num_negatives', [None, 38, 10**6])
def test_no_generator_needed_where_nothing_is_drawn(num_negatives):
    level = make_level(40)
    level.assignments = torch.tensor([0, 1])
    all_of_them, _ = proto_nce(unit(2, 8), level, torch.arange(2))
    loss, _ = proto_nce(
        unit(2, 8), level, torch.arange(2), num_negatives=num_negatives
    )
    assert loss.item() == all_of_them.item()
    proto_nce(unit(2, 8), level, torch.arange(2), num_negatives=0)


def test_a_draw_without_generator_is_refused():
    with pytest.raises(ValueError, match=r'Generator to draw 4 of 3\d'):
        proto_nce(unit(3, 8), make_level(40), torch.arange(3), num_negatives=4)


def perfect(num_clusters, batch, seed=0):
    """Every image lies on its own prototype; prototypes are orthogonal."""
    generator = torch.Generator().manual_seed(seed)
    centroids = torch.eye(max(num_clusters, 2))[:num_clusters]
    assignments = torch.randint(num_clusters, (1000,), generator=generator)
    index = torch.randperm(1000, generator=generator)[:batch]
    level = SimpleNamespace(
        centroids=centroids,
        assignments=assignments,
        concentration=torch.linspace(0.1, 0.4, num_clusters),
    )
    return centroids[assignments[index]], level, index


@pytest.mark.parametrize('num_negatives', [None, 5])
@pytest.mark.parametrize('num_clusters', [2, 10, 100, 800])
def test_ceiling_of_accuracy(num_clusters, num_negatives):
    query, level, index = perfect(num_clusters, 64)
    distinct = len(set(level.assignments[index].tolist()))
    for mode, ceiling in (
        ('unique', 100.0),
        ('batch', 100.0 * distinct / 64),
    ):
        _, accuracy = proto_nce(
            query,
            level,
            index,
            negatives=mode,
            num_negatives=num_negatives,
            generator=torch.Generator().manual_seed(0),
        )
        assert accuracy.item() == pytest.approx(ceiling, abs=1e-4), mode
        assert not accuracy.requires_grad


def test_ceiling_of_batch_mode_at_two_clusters_is_three_percent():
    query, level, index = perfect(2, 64)
    _, accuracy = proto_nce(query, level, index, negatives='batch')
    assert accuracy.item() == pytest.approx(3.125)


@pytest.mark.parametrize('mode', ['unique', 'batch'])
def test_accuracy_is_the_share_of_nearest_prototypes(mode):
    level = make_level(15)
    index = torch.arange(30)
    query = F.normalize(
        level.centroids[level.assignments[:30]] + 0.4 * unit(30, 8, seed=9),
        dim=1,
    )
    hits, seen = 0, set()
    for row in range(30):
        own = int(level.assignments[row])
        scores = [
            float(query[row] @ level.centroids[j] / level.concentration[j])
            for j in range(15)
        ]
        right = scores.index(max(scores)) == own
        if mode == 'batch' and own in seen:
            right = False
        seen.add(own)
        hits += right
    assert 0 < hits < 30
    _, accuracy = proto_nce(query, level, index, negatives=mode)
    assert accuracy.item() == pytest.approx(100 * hits / 30)


@pytest.mark.parametrize('mode', ['unique', 'batch'])
def test_collapse_is_not_accurate(mode):
    query = unit(1, 33, dtype=torch.float32).expand(16, 33)
    level = SimpleNamespace(
        centroids=query[:4],
        assignments=torch.arange(16) % 4,
        concentration=torch.full((4,), 0.2),
    )
    _, accuracy = proto_nce(query, level, torch.arange(16), negatives=mode)
    assert accuracy.item() == 0


@pytest.mark.parametrize('mode', ['unique', 'batch'])
def test_bf16_and_autocast_are_computed_in_float32(mode):
    level = make_level(20)
    level.centroids = level.centroids.float()
    level.concentration = level.concentration.float()
    index = torch.arange(10)
    query = unit(10, 8, seed=5).bfloat16()
    key = unit(10, 8, seed=6).bfloat16()
    expected = proto_nce(query.float(), level, index, negatives=mode)[0]
    expected_inst = info_nce(query.float(), key.float(), query.float().t())[0]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss, _ = proto_nce(query, level, index, negatives=mode)
        inst, _ = info_nce(query, key, query.t())
    assert loss.dtype == inst.dtype == torch.float32
    assert loss.item() == expected.item()
    assert inst.item() == expected_inst.item()


def test_nan_gives_nan_loss_and_no_hit():
    level = make_level(5)
    query = unit(2, 8)
    query[0] = math.nan
    loss, accuracy = proto_nce(query, level, torch.arange(2))
    assert math.isnan(loss.item())
    assert accuracy.item() <= 50


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'query': torch.ones(3)}, r'query of shape \(B, D\)'),
        ({'query': torch.ones(2, 9)}, r'D=9.*got \(40, 8\)'),
        ({'sample_idx': torch.arange(3)}, r'each of 2 queries.*\(3,\)'),
        ({'sample_idx': torch.tensor([0, 60])}, 'from 0 to 59, got 60'),
        ({'sample_idx': torch.tensor([-1, 0])}, 'got -1'),
        ({'sample_idx': torch.tensor([0.0, 1.0])}, 'integer.*float32'),
        ({'negatives': 'all'}, "unique.*got 'all'"),
        ({'num_negatives': -1}, 'num_negatives >= 0.*got -1'),
        ({'label_smoothing': 1.0}, r'\[0, 1\), got 1.0'),
        ({'label_smoothing': -0.1}, 'got -0.1'),
    ],
)
def test_proto_nce_bad_input(change, message):
    arguments = {
        'query': unit(2, 8),
        'level': make_level(40),
        'sample_idx': torch.arange(2),
    }
    arguments.update(change)
    with pytest.raises(ValueError, match=message):
        proto_nce(**arguments)


def test_proto_nce_refuses_a_level_that_does_not_fit_itself():
    level = make_level(4)
    level.concentration = level.concentration[:3]
    with pytest.raises(ValueError, match='each of 4 centroids'):
        proto_nce(unit(2, 8), level, torch.arange(2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
@pytest.mark.parametrize('mode', ['unique', 'batch'])
def test_gpu_agrees_with_cpu_with_a_cpu_generator(mode):
    level = make_level(40)
    index = torch.arange(20)
    query = unit(20, 8, seed=5)
    on_gpu = SimpleNamespace(**{k: v.cuda() for k, v in vars(level).items()})
    for sample_idx in (index, index.cuda()):
        expected, got = (
            proto_nce(
                q,
                lv,
                i,
                negatives=mode,
                num_negatives=7,
                generator=torch.Generator().manual_seed(2),
            )
            for q, lv, i in (
                (query, level, index),
                (query.cuda(), on_gpu, sample_idx),
            )
        )
        for a, b in zip(expected, got, strict=True):
            torch.testing.assert_close(a, b.cpu())


# -- smoothing_factor -------------------------------------------------------


@pytest.mark.parametrize(
    ('num_clusters', 'max_clusters', 'ceiling', 'expected'),
    [
        (3200, 3200, 0.2, 0.0),
        (2400, 3200, 0.2, 0.1),  # sqrt(1/4)
        (100, 3200, 0.2, 0.196850),  # sqrt(31/32)
        (2, 3200, 0.2, 0.199937),
        (1, 1, 0.2, 0.0),
        (36, 100, 0.5, 0.4),  # sqrt(64/100)
        (5, 10, 0.0, 0.0),
    ],
)
def test_smoothing_factor(num_clusters, max_clusters, ceiling, expected):
    value = smoothing_factor(num_clusters, max_clusters, ceiling=ceiling)
    assert isinstance(value, float)
    assert value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((0, 5), 'got 0 and 5'),
        ((6, 5), 'largest rung'),
        ((2, 5, 1.0), r'\[0, 1\), got 1.0'),
        ((2, 5, -0.1), 'got -0.1'),
    ],
)
def test_smoothing_factor_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        smoothing_factor(
            *arguments[:2],
            **({'ceiling': arguments[2]} if len(arguments) > 2 else {}),
        )
