"""How many kinds: the evidence by slow loops, the answer on known kinds."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from sklearn.metrics import silhouette_score

from ahpcl.core import KMeansSettings, spherical_kmeans
from ahpcl.core.metrics import Candidate, CountSettings, KindCount, count_kinds
from ahpcl.core.metrics import count as counting
from ahpcl.core.metrics.count_evidence import (
    candidate_counts,
    compare_halves,
    cosine_silhouette,
    restart_agreement,
    structureless_like,
)
from ahpcl.core.seeding import seed_from

QUICK = CountSettings(
    max_kinds=10,
    ratio=1.5,
    repeats=4,
    references=4,
    kmeans=KMeansSettings(n_init=1),
)


def kinds(number, shares, noise=0.1, width=16, seed=0):
    """Rows around random centres, with the kind of each."""
    source = torch.Generator().manual_seed(seed)
    shares = torch.tensor(shares, dtype=torch.float32)
    centres = torch.randn(len(shares), width, generator=source)
    own = torch.multinomial(shares, number, True, generator=source)
    draws = torch.randn(number, width, generator=source)
    return F.normalize(F.normalize(centres, dim=1)[own] + noise * draws), own


def pairs_adjusted_rand(first, second):
    """Adjusted Rand index by looking at every pair (Hubert, Arabie 1985)."""
    both = a = b = 0
    pairs = list(itertools.combinations(range(len(first)), 2))
    for i, j in pairs:
        in_a, in_b = first[i] == first[j], second[i] == second[j]
        both, a, b = both + (in_a and in_b), a + in_a, b + in_b
    expected = a * b / len(pairs)
    return (both - expected) / ((a + b) / 2 - expected)


# ---- the evidence ---------------------------------------------------------


def test_candidates_grow_by_a_factor_and_stay_below_the_most():
    counts = candidate_counts(90, 1.3)
    assert counts[:4] == [2, 3, 4, 5] and counts[-1] == 90
    later = [(a, b) for a, b in itertools.pairwise(counts[:-1]) if a >= 10]
    assert all(1.2 < b / a < 1.4 for a, b in later)
    assert candidate_counts(1) == [] and candidate_counts(2) == [2]


def test_silhouettes_are_those_of_all_pairs():
    rows, own = kinds(60, [1] * 4, noise=0.4)
    own[own == 3] = 4  # 3 is empty
    own[0] = 3  # and now has a single image, 5 has none
    expected = silhouette_score(rows.double(), own, metric='cosine')
    assert cosine_silhouette(rows, own, 6) == pytest.approx(expected)
    assert cosine_silhouette(rows, torch.zeros(60).long(), 2) == 0


@pytest.mark.parametrize('number', [4000, 12])
def test_clouds_have_mean_and_covariance_but_no_kinds(number):
    rows, _ = kinds(number, [1, 1, 1], noise=0.02)
    # Near one direction, so that the sphere is flat and nothing is bent.
    rows = F.normalize(20 * torch.eye(16)[0] + rows, dim=1)
    source = torch.Generator().manual_seed(1)
    clouds = torch.cat([structureless_like(rows, source) for _ in range(9)])
    if number < 16:
        clouds = torch.cat(
            [clouds, *(structureless_like(rows, source) for _ in range(400))]
        )
    own = np.cov(rows.double().numpy().T)
    found = np.cov(clouds.double().numpy().T)
    assert np.abs(found - own).max() < 0.1 * np.abs(own).max()
    torch.testing.assert_close(clouds.mean(0), rows.mean(0), atol=2e-3, rtol=0)
    with_kinds = compare_halves(rows, 3, KMeansSettings(), seed=0)
    if number > 16:
        without = compare_halves(clouds[:number], 3, KMeansSettings(), seed=0)
        assert with_kinds.silhouette > 0.9 > 0.7 > without.silhouette


def test_halves_are_compared_as_a_slow_loop_does():
    rows, _ = kinds(80, [1] * 3, noise=0.5)
    settings = KMeansSettings(n_init=1)
    found = compare_halves(rows, 4, settings, seed=7)
    generator = torch.Generator().manual_seed(seed_from(7, 'halves'))
    order = torch.randperm(80, generator=generator).tolist()
    parts = order[:40], order[40:]
    labels, cosines, scores = [], [], []
    for place, part in enumerate(parts):
        seed = seed_from(7, 'half', place, 4)
        centroids = spherical_kmeans(rows[part], 4, settings, seed=seed)
        own = []
        for row in rows:
            own.append(
                max(range(4), key=lambda k: row @ centroids.centroids[k])
            )
        labels.append(own)
        others = parts[1 - place]
        cosines += [
            float(rows[i] @ centroids.centroids[own[i]]) for i in others
        ]
        chosen = [own[i] for i in others]
        scores.append(
            silhouette_score(rows[others].double(), chosen, metric='cosine')
        )
    assert found.agreement == pytest.approx(pairs_adjusted_rand(*labels))
    assert found.silhouette == pytest.approx(np.mean(scores), abs=1e-6)
    assert found.tightness == pytest.approx(np.mean(cosines), abs=1e-6)


def test_restarts_are_cold_and_all_pairs_count():
    rows, _ = kinds(90, [1], noise=0.5)
    settings = KMeansSettings(n_init=1)
    found = restart_agreement(rows, 6, settings, restarts=3, seed=0)
    starts = [
        spherical_kmeans(
            rows, 6, settings, seed=seed_from(0, 'restart', place, 6)
        ).assignments.tolist()
        for place in range(3)
    ]
    slow = [
        pairs_adjusted_rand(a, b) for a, b in itertools.combinations(starts, 2)
    ]
    assert found == pytest.approx(np.mean(slow)) and found < 0.9


def test_widths_are_welchs():
    first = torch.tensor([0.3, 0.5, 0.4, 0.45, 0.2]).double()
    second = torch.tensor([0.1, 0.15, 0.3]).double()
    test = stats.ttest_ind(first, second, equal_var=False)
    low, high = test.confidence_interval()
    assert counting._wide((first, second)) == pytest.approx((high - low) / 2)
    assert counting._wide((first[:1].expand(3), first[:1].expand(3))) == 0


# ---- the answer -----------------------------------------------------------


@pytest.mark.parametrize('number', [2, 3, 7])
def test_known_kinds_are_counted(number):
    rows, _ = kinds(300, [1] * number)
    found = count_kinds(5 * rows, QUICK)  # lengths do not matter
    assert found.number == number, found.reason
    low, high = found.interval
    assert low <= number <= high
    best = found.best
    assert best.agreement == pytest.approx(1, abs=0.02)
    assert best.agreement > best.expected_agreement
    assert found.describe().startswith(f'{number} kinds ({low} to {high}): ')


def test_uneven_kinds_are_the_best_guess():
    rows, _ = kinds(400, [6, 4, 4, 2, 2])
    found = count_kinds(rows, QUICK)
    low, high = found.interval
    assert abs(found.best.clusters - 5) <= 1 and low <= 5 <= high


@pytest.mark.parametrize('noise', [0.2, 1.0])
def test_a_single_cloud_has_no_number(noise):
    rows, _ = kinds(300, [1], noise=noise)
    found = count_kinds(rows, QUICK)
    assert found.number is None
    assert 'no number of clusters stands out' in found.reason
    assert found.describe().startswith('not determined: no number')


def test_a_long_cloud_is_stable_and_has_no_number():
    """Plain stability would count two: a dominant direction is cut."""
    source = torch.Generator().manual_seed(0)
    rows = torch.randn(600, 8, generator=source)
    rows[:, 0] *= 30
    rows = F.normalize(rows + 90 * torch.eye(8)[1], dim=1)
    found = count_kinds(rows, QUICK)
    two = found.candidates[0]
    assert two.clusters == 2 and two.agreement > 0.75
    assert two.expected_agreement > 0.75
    assert found.number is None


def test_the_last_candidate_is_not_believed():
    rows, _ = kinds(200, [1] * 9)
    found = count_kinds(
        rows, CountSettings(max_kinds=5, repeats=2, references=2)
    )
    assert found.number is None and 'raise max_kinds' in found.reason
    assert found.candidates[-1].clusters == 5


def test_too_few_images_say_so():
    rows = torch.eye(16).repeat(100, 1)  # sixteen distinct ones
    found = count_kinds(rows)
    assert (found.number, found.interval, found.best) == (None, None, None)
    assert '16 distinct images are too few: at least 60' in found.reason
    assert count_kinds(torch.ones(1, 3)).number is None


def test_a_view_that_changes_the_clusters_is_noted():
    rows, _ = kinds(300, [1] * 4)
    same = count_kinds(rows, QUICK, views=(rows[:50], rows[:50]))
    assert same.best.views == 1 and not same.notes
    lost = rows[:50].mean(0).expand(50, -1)
    other = count_kinds(rows, QUICK, views=(rows[:50], lost))
    assert other.best.views == pytest.approx(0, abs=0.01)
    assert 'such as colour' in other.notes[0]
    assert other.number == same.number  # a note, no verdict


def test_it_depends_on_seed_and_features_alone():
    rows, _ = kinds(200, [1] * 3, noise=0.3)
    torch.manual_seed(1)
    first = count_kinds(rows, QUICK)
    state = torch.random.get_rng_state()
    assert count_kinds(rows, QUICK) == first
    assert torch.equal(torch.random.get_rng_state(), state)
    assert count_kinds(rows, QUICK, seed=1) != first


def test_of_many_images_some_are_drawn():
    rows, _ = kinds(1000, [1] * 4)
    found = count_kinds(rows, replace(QUICK, max_images=120))
    assert found.images == 120 and found.best.clusters == 4
    assert found.candidates[-1].clusters == 6  # 20 images per kind


@pytest.mark.parametrize(
    ('features', 'views', 'said'),
    [
        (torch.ones(4), None, r'\(N, D\).* got \(4,\)'),
        (torch.full((9, 2), torch.nan), None, 'in 9 of 9 rows'),
        (torch.ones(9, 2), (torch.ones(3, 2), torch.ones(4, 2)), r'\(M, 2\)'),
        (torch.ones(9, 2), (torch.ones(3, 3), torch.ones(3, 3)), r'\(M, 2\)'),
    ],
)
def test_what_cannot_be_counted_is_said(features, views, said):
    with pytest.raises(ValueError, match=said):
        count_kinds(features, views=views)


@pytest.mark.parametrize(
    'wrong',
    [
        dict(max_kinds=1),
        dict(repeats=1),
        dict(ratio=1.0),
        dict(least_agreement=2),
        dict(images_per_kind=2.5),
    ],
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CountSettings(**wrong)


def test_wide_intervals_and_weak_agreement_are_no_number():
    strong = Candidate(9, 0.5, 0.01, 0.9, 0.2, 0.5, 0.1, 0.9, 0.8, None)
    problem = counting._problem
    settings = CountSettings()
    assert problem(strong, (8, 12), 50, settings) is None
    assert 'anything from 6 to 13' in problem(strong, (6, 13), 50, settings)
    weak = Candidate(9, 0.5, 0.01, 0.5, 0.0, 0.6, 0.1, 0.9, 0.8, None)
    assert 'agree on no number' in problem(weak, (8, 12), 50, settings)
    vague = Candidate(9, 0.15, 0.1, 0.9, 0.2, 0.5, 0.1, 0.9, 0.8, None)
    assert 'stands out' in problem(vague, (8, 12), 50, settings)


def test_further_peaks_are_noted():
    def at(count, support):
        return Candidate(count, support, 0.01, 0.9, 0.1, 0.3, 0.1, 1, 1, None)

    rows = [at(*pair) for pair in ((2, 0.2), (4, 0.5), (7, 0.3), (12, 0.6))]
    rows.append(at(20, 0.2))
    notes = counting._notes(rows[3], rows, CountSettings())
    assert notes == (
        'there may be kinds within kinds: support is high again at 4',
    )


def test_an_answer_is_plain_json():
    rows, _ = kinds(120, [1, 1])
    found = count_kinds(rows, QUICK)
    content = json.loads(json.dumps(found.as_dict()))
    assert content['number'] == 2 and content['candidates'][0]['clusters'] == 2
    assert KindCount(**content).describe() == found.describe()
