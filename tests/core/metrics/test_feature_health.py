import math

import pytest
import torch
import torch.nn.functional as F

from ahpcl.core.metrics.feature_health import (
    alignment,
    collapse_alarms,
    feature_health,
    mean_cosine,
    rankme,
    spread,
    uniformity,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_rankme_of_k_equal_singular_values_is_k():
    basis, _ = torch.linalg.qr(draw(50, 10))
    for k in (1, 4, 10):
        turn, _ = torch.linalg.qr(draw(k, k, seed=k))
        features = 3 * basis[:, :k] @ turn
        assert rankme(features) == pytest.approx(k, abs=1e-3)


def test_rankme_is_that_of_its_equation():
    features = draw(40, 7)
    gram = features.double().t() @ features.double()
    values = [math.sqrt(v) for v in torch.linalg.eigvalsh(gram).tolist()]
    shares = [v / sum(values) + 1e-7 for v in values]
    expected = math.exp(-sum(p * math.log(p) for p in shares))
    assert rankme(features) == pytest.approx(expected)


def test_the_sphere_measures_are_those_of_slow_loops():
    features = draw(30, 5)
    rows = F.normalize(features.double(), dim=1)
    pairs = [(i, j) for i in range(30) for j in range(30) if i != j]
    potential = [
        math.exp(-2 * float((rows[i] - rows[j]).square().sum()))
        for i, j in pairs
    ]
    expected = math.log(sum(potential) / len(pairs))
    assert uniformity(features) == pytest.approx(expected)
    cosines = [float(rows[i] @ rows[j]) for i, j in pairs]
    assert mean_cosine(features) == pytest.approx(sum(cosines) / len(pairs))
    other = draw(30, 5, seed=1)
    twins = F.normalize(other.double(), dim=1)
    apart = [float((rows[i] - twins[i]).square().sum()) for i in range(30)]
    assert alignment(features, other) == pytest.approx(sum(apart) / 30)
    assert alignment(features, other, alpha=1) == pytest.approx(
        sum(math.sqrt(a) for a in apart) / 30
    )


def test_the_extremes_are_known():
    even = draw(500, 256)
    assert uniformity(even) == pytest.approx(-4, abs=0.1)
    assert spread(even) == pytest.approx(1, abs=0.01)
    assert mean_cosine(even) == pytest.approx(0, abs=0.01)
    assert alignment(even, 5 * even) == pytest.approx(0, abs=1e-12)
    same = draw(1, 16).expand(100, 16)
    assert uniformity(same) == pytest.approx(0, abs=1e-9)
    assert mean_cosine(same) == pytest.approx(1)
    assert spread(same) == pytest.approx(0, abs=1e-6)


def test_large_sets_are_sampled_alike_each_time():
    features = draw(300, 8)
    part = uniformity(features, sample=100, seed=1)
    assert part == uniformity(features, sample=100, seed=1)
    assert part != uniformity(features)
    assert part == pytest.approx(uniformity(features), abs=0.1)


def test_collapse_is_told_and_health_is_not():
    healthy = draw(400, 32).relu()
    assert collapse_alarms(feature_health(healthy)) == []
    collapsed = draw(1, 32).relu() + 1e-4 * draw(400, 32)
    alarms = collapse_alarms(feature_health(collapsed))
    assert len(alarms) == 3
    assert 'RankMe' in alarms[0]
    assert 'mean cosine' in alarms[2]
    line = draw(400, 1) * draw(1, 32)  # one dimension, both directions
    alarms = collapse_alarms(feature_health(line))
    assert len(alarms) == 1
    assert 'dimensional collapse' in alarms[0]
    assert collapse_alarms(feature_health(healthy), least_rankme=30)


def test_features_that_are_all_0_raise_alarms_instead_of_errors():
    health = feature_health(torch.zeros(20, 4))
    assert health['rankme'] == 0
    assert health['uniformity'] == pytest.approx(0)
    alarms = collapse_alarms(health)
    assert [a.split()[0] for a in alarms] == ['RankMe', 'spread']


def test_uniformity_of_some_rows_of_0_is_that_of_a_slow_loop():
    features = draw(12, 4)
    features[::3] = 0
    rows = F.normalize(features.double(), dim=1)
    potential = [
        math.exp(-2 * float((rows[i] - rows[j]).square().sum()))
        for i in range(12)
        for j in range(12)
        if i != j
    ]
    expected = math.log(sum(potential) / len(potential))
    assert uniformity(features) == pytest.approx(expected)


def test_bad_features_are_refused():
    with pytest.raises(ValueError, match='NaN'):
        rankme(torch.tensor([[1.0, math.nan], [1.0, 2.0]]))
    with pytest.raises(ValueError, match='two views'):
        alignment(draw(3, 2), draw(4, 2))
    with pytest.raises(ValueError, match='two features'):
        uniformity(draw(1, 2))
    with pytest.raises(ValueError, match='shape'):
        mean_cosine(draw(4))
