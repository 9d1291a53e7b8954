"""Signals of trust, against obvious loops."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import adjusted_mutual_info_score

from tools_modules import tool_modules


@pytest.fixture(scope='module')
def trust():
    names = ('_paths', '_ledger', '_structure', '_trust')
    with tool_modules('experiments', *names) as modules:
        yield modules['_trust']


def test_the_true_share_is_that_of_the_own_class(trust):
    clusters = torch.tensor([0, 0, 0, 1, 1])
    labels = torch.tensor([2, 2, 0, 1, 2])
    shares = trust.true_shares(clusters, labels).tolist()
    assert shares == pytest.approx([2 / 3, 2 / 3, 1 / 3, 1 / 2, 1 / 2])


def test_a_signal_is_judged_by_its_ranks(trust):
    share = torch.tensor([0.1, 0.4, 0.3, 0.2, 0.9, 0.5, 0.6, 0.7, 0.8, 1.0])
    perfect = trust.judged(share.exp(), share)
    assert perfect['correlation'] == 1
    best = sorted(share.tolist())[-4:]  # 35 % of ten, rounded to even
    assert perfect['right'] == pytest.approx(100 * sum(best) / 4, abs=0.01)
    assert trust.judged(-share, share)['correlation'] == -1
    nothing = trust.judged(torch.ones(10), share)
    assert nothing['correlation'] == 0
    assert nothing['right'] == pytest.approx(100 * float(share.mean()))


def test_pure_clusters_leave_nothing_to_tell(trust):
    found = trust.judged(torch.rand(10), torch.ones(10))
    assert found == dict(correlation=0.0, right=100.0)


def test_equal_values_share_their_rank(trust):
    from scipy.stats import spearmanr

    generator = torch.manual_seed(0)
    values = torch.randint(4, (30,), generator=generator).float()
    share = torch.rand(30, generator=generator)
    wanted = spearmanr(values.numpy(), share.numpy()).statistic
    found = trust.judged(values, share)['correlation']
    assert found == pytest.approx(wanted, abs=1e-3)


def test_signals_are_what_their_names_say(trust):
    generator = torch.manual_seed(1)
    points = F.normalize(torch.randn(80, 6, generator=generator), dim=1)
    labels = torch.randint(3, (80,), generator=generator)
    near = trust.other_neighbours(points, 5)
    share, found, agreement = trust.signals(points, 4, labels, near)
    assert set(found) == set(trust.SIGNALS)
    from ahpcl.core import KMeansSettings, spherical_kmeans

    own, other, third = (
        spherical_kmeans(points, 4, KMeansSettings(n_init=1), seed=seed)
        for seed in range(3)
    )
    starts = [each.assignments.numpy() for each in (own, other, third)]
    pairs = [
        adjusted_mutual_info_score(starts[a], starts[b])
        for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    assert agreement == pytest.approx(sum(pairs) / 3, abs=1e-5)
    for i in (0, 17, 63):
        c = int(own.assignments[i])
        mates = [j for j in range(80) if own.assignments[j] == c]
        cosines = sorted(float(points[i] @ k) for k in own.centroids)
        order = sorted(
            (j for j in range(80) if j != i),
            key=lambda j: -float(points[i] @ points[j]),
        )[:5]
        classes = [int(labels[j]) for j in mates]
        again = [
            sum(each.assignments[j] == each.assignments[i] for j in mates)
            for each in (other, third)
        ]
        wanted = dict(
            chance=1,
            nearness=float(points[i] @ own.centroids[c]),
            margin=cosines[-1] - cosines[-2],
            neighbours=sum(j in mates for j in order) / 5,
            density=sum(float(points[i] @ points[j]) for j in order) / 5,
            restarts=float(sum(again)) / len(mates),
            tightness=sum(float(points[j] @ own.centroids[c]) for j in mates)
            / len(mates),
            truth_of_clusters=max(map(classes.count, range(3))) / len(mates),
            truth_of_images=classes.count(int(labels[i])) / len(mates),
        )
        for name, value in wanted.items():
            assert float(found[name][i]) == pytest.approx(value, abs=1e-5), (
                name
            )
        assert float(share[i]) == pytest.approx(wanted['truth_of_images'])


def test_a_table_has_a_line_per_signal_and_a_column_per_count(trust):
    generator = torch.manual_seed(2)
    points = F.normalize(torch.randn(200, 6, generator=generator), dim=1)
    labels = torch.randint(4, (200,), generator=generator)
    rows = trust.compare(points, labels, [4, 8])
    text = trust.table([dict(set='a/b/0', rows=rows)])
    lines = text.splitlines()
    assert lines[0] == 'a/b/0:'
    assert lines[2] == '| signal | K = 4 | K = 8 |'
    assert len(lines) == 5 + len(trust.SIGNALS)  # and the agreement
