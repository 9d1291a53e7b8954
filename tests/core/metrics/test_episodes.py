import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ahpcl.core.metrics import few_shot_episodes, sample_episodes
from ahpcl.core.metrics.episode_classifiers import (
    cosine_scores,
    logistic_scores,
)


def blobs(sizes, dim=5, noise=1.0, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(len(sizes), dim))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    generator.shuffle(labels)
    points = centres[labels] + noise * generator.normal(
        size=(len(labels), dim)
    )
    return torch.from_numpy(points), torch.from_numpy(labels)


def slow_accuracy(points, support, query, classifier, metric):
    """One episode, one query at a time, in NumPy."""

    def unit(v):
        return v / np.linalg.norm(v) if metric == 'cosine' else v

    candidates = []
    for way, images in enumerate(support):
        shown = [unit(points[i]) for i in images]
        if classifier == 'nearest_centroid':
            shown = [unit(np.mean(shown, axis=0))]
        candidates += [(way, s) for s in shown]
    right = total = 0
    for way, images in enumerate(query):
        for i in images:
            if i < 0:
                continue
            distances = [
                np.linalg.norm(unit(points[i]) - c) for _, c in candidates
            ]
            right += candidates[int(np.argmin(distances))][0] == way
            total += 1
    return 100 * right / total


@pytest.mark.parametrize('metric', ['cosine', 'euclidean'])
@pytest.mark.parametrize(
    'classifier', ['nearest_centroid', 'nearest_neighbour']
)
@pytest.mark.parametrize(
    ('ways', 'shots', 'queries'), [(3, 1, 4), (2, 5, 3), (4, 2, None)]
)
def test_equals_a_slow_loop_over_the_same_episodes(
    metric, classifier, ways, shots, queries
):
    points, labels = blobs([9, 12, 8, 20, 10])
    draw = {'ways': ways, 'shots': shots, 'queries': queries}
    each = []
    for support, query in sample_episodes(labels, **draw, episodes=30, seed=7):
        for s, q in zip(support.tolist(), query.tolist(), strict=True):
            each.append(
                slow_accuracy(points.numpy(), s, q, classifier, metric)
            )
    assert len(each) == 30
    result = few_shot_episodes(
        points,
        labels,
        **draw,
        episodes=30,
        seed=7,
        classifier=classifier,
        metric=metric,
    )
    assert result.accuracy == pytest.approx(np.mean(each), abs=1e-9)
    expected = 1.96 * np.std(each, ddof=1) / math.sqrt(30)
    assert result.half_width == pytest.approx(expected, abs=1e-9)
    assert 100 / ways < result.accuracy < 100


def test_agrees_with_an_independent_sampler():
    points, labels = blobs([30] * 6, noise=1.5)
    result = few_shot_episodes(points, labels, ways=5, queries=10)
    generator = np.random.default_rng(1)
    each = []
    for _ in range(400):
        support, query = [], []
        for c in generator.choice(6, 5, replace=False):
            images = np.flatnonzero(labels.numpy() == c)
            images = generator.choice(images, 11, replace=False)
            support.append(images[:1])
            query.append(images[1:])
        each.append(
            slow_accuracy(
                points.numpy(), support, query, 'nearest_centroid', 'cosine'
            )
        )
    error = np.std(each) / math.sqrt(400)
    assert abs(result.accuracy - np.mean(each)) < 4 * error


@pytest.mark.parametrize('queries', [3, None])
def test_episodes_are_well_formed_and_uniform(queries):
    sizes = [6, 9, 5, 7]
    _, labels = blobs(sizes)
    seen = torch.zeros(len(labels))
    classes = torch.zeros(4)
    for support, query in sample_episodes(
        labels, ways=2, shots=2, queries=queries, episodes=3000
    ):
        for s, q in zip(support, query, strict=True):
            way = labels[s[:, 0]]
            assert way[0] != way[1]
            classes[way] += 1
            for c, shown, asked in zip(way, s, q, strict=True):
                kept = asked[asked >= 0]
                both = torch.cat([shown, kept])
                assert (labels[both] == c).all()
                assert len(both.unique()) == len(both)
                rest = sizes[c] - 2 if queries is None else queries
                assert len(kept) == rest
                seen[shown] += 1
    # Each class in half of the episodes, each image equally in its class.
    assert (classes / 3000 - 0.5).abs().max() < 0.05
    for c, size in enumerate(sizes):
        share = seen[labels == c] / classes[c]
        assert (share - 2 / size).abs().max() < 0.06


def test_one_label_per_class():
    """Ten classes, one shot, all the rest: separable data are all right."""
    points, labels = blobs([8, 11] * 5, dim=30, noise=0.01)
    result = few_shot_episodes(
        points, labels, ways=10, shots=1, queries=None, episodes=50
    )
    assert result == (100.0, 0.0)


def test_labels_may_be_any_integers_in_any_order():
    points, labels = blobs([9, 9, 9])
    settings = {'ways': 3, 'queries': 4, 'episodes': 20}
    expected = few_shot_episodes(points, labels, **settings)
    named = torch.tensor([-7, 5, 1000])[labels]
    assert few_shot_episodes(points, named, **settings) == expected


def test_chance_on_collapsed_features():
    _, labels = blobs([9] * 5)
    result = few_shot_episodes(
        torch.ones(45, 3), labels, ways=5, queries=5, episodes=20
    )
    assert result.accuracy == pytest.approx(20.0)


def test_many_chunks_and_seeds():
    # Wide features force several chunks; float32 input.
    points, labels = blobs([12] * 5, dim=30)
    wide = torch.cat([points, torch.zeros(60, 60_000)], dim=1).float()
    settings = {'ways': 5, 'queries': 5, 'episodes': 25, 'seed': 3}
    chunks = list(sample_episodes(labels, shots=1, width=60_030, **settings))
    assert len(chunks) > 1
    assert sum(len(s) for s, _ in chunks) == 25
    result = few_shot_episodes(wide, labels, **settings)
    assert result == few_shot_episodes(wide, labels, **settings)
    settings['seed'] = 4
    assert result != few_shot_episodes(wide, labels, **settings)


def test_global_random_state_is_left_alone():
    points, labels = blobs([12] * 5)
    before = torch.random.get_rng_state()
    few_shot_episodes(points, labels, queries=5, episodes=3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_single_episode_has_no_interval():
    points, labels = blobs([12] * 5)
    result = few_shot_episodes(points, labels, queries=5, episodes=1)
    assert math.isnan(result.half_width)
    assert 0 <= result.accuracy <= 100


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'ways': 6}, 'at least 6 classes, got 5; lower ways'),
        ({'queries': 12}, 'at least 13 images.*got 12 of class 0'),
        ({'shots': 12, 'queries': None}, 'at least 13 images'),
        ({'ways': 1}, 'ways >= 2, got 1'),
        ({'shots': 0}, 'shots >= 1, got 0'),
        ({'queries': 0}, 'queries >= 1, got 0'),
        ({'episodes': 0}, 'episodes >= 1, got 0'),
        ({'classifier': 'svm'}, "nearest_centroid.*got 'svm'"),
        ({'metric': 'l1'}, "cosine.*got 'l1'"),
        ({'features': torch.ones(60)}, r'\(N, D\).*got \(60,\)'),
        ({'features': torch.full((60, 2), torch.nan)}, '60 rows with NaN'),
        ({'labels': torch.arange(3)}, r'each of 60 features.*\(3,\)'),
    ],
)
def test_bad_input(change, message):
    points, labels = blobs([12] * 5)
    settings = {'features': points, 'labels': labels, 'queries': 5}
    with pytest.raises(ValueError, match=message):
        few_shot_episodes(**{**settings, 'episodes': 2, **change})


def episode_tensors(points, labels, shots, episodes=12, queries=6, seed=3):
    (draw,) = sample_episodes(
        labels,
        ways=4,
        shots=shots,
        queries=queries,
        episodes=episodes,
        seed=seed,
    )
    support, query = draw
    return points[support], points[query]


@pytest.mark.parametrize('dim', [5, 80])  # fewer and more than shots
@pytest.mark.parametrize('shots', [1, 5])
@pytest.mark.parametrize('c', [0.1, 1.0, 10.0])
def test_logistic_regression_is_scikit_learns(dim, shots, c):
    points, labels = blobs([20] * 6, dim=dim, noise=1.5)
    shown, asked = episode_tensors(points, labels, shots)
    scores = logistic_scores(shown, asked.flatten(1, 2), c=c)
    for e in range(len(shown)):
        model = LogisticRegression(C=c, tol=1e-9, max_iter=20000)
        model.fit(shown[e].flatten(0, 1).numpy(), np.arange(4).repeat(shots))
        queries = asked[e].flatten(0, 1).numpy()
        np.testing.assert_allclose(
            scores[e].softmax(1).numpy(),
            model.predict_proba(queries),
            atol=1e-4,
        )
        assert (scores[e].argmax(1).numpy() == model.predict(queries)).all()


@pytest.mark.parametrize('shots', [1, 5])
def test_accuracy_is_that_of_scikit_learn_in_a_loop(shots):
    points, labels = blobs([20] * 7, dim=30, noise=2.0)
    draw = {'ways': 5, 'shots': shots, 'queries': 8, 'episodes': 40}
    each = []
    for support, query in sample_episodes(labels, **draw, seed=5):
        for s, q in zip(support, query, strict=True):
            unit = torch.nn.functional.normalize(points, dim=1).numpy()
            model = LogisticRegression(tol=1e-9, max_iter=20000)
            model.fit(unit[s.flatten()], np.arange(5).repeat(shots))
            right = model.predict(unit[q.flatten()]) == np.arange(5).repeat(8)
            each.append(100 * right.mean())
    assert len(each) == 40
    result = few_shot_episodes(
        points, labels, **draw, seed=5, classifier='logistic_regression'
    )
    assert result.accuracy == pytest.approx(np.mean(each), abs=1e-9)
    assert 25 < result.accuracy < 95


def test_logistic_regression_converges_on_large_features():
    points, labels = blobs([20] * 6, dim=80, noise=1.5)
    shown, asked = episode_tensors(100 * points, labels, 5)
    scores = logistic_scores(shown, asked.flatten(1, 2))
    model = LogisticRegression(tol=1e-9, max_iter=20000)
    model.fit(shown[0].flatten(0, 1).numpy(), np.arange(4).repeat(5))
    expected = model.predict(asked[0].flatten(0, 1).numpy())
    assert (scores[0].argmax(1).numpy() == expected).all()


def test_the_cosine_classifier_is_that_of_a_loop_over_episodes():
    points, labels = blobs([20] * 6, dim=40, noise=1.5)
    shown, asked = episode_tensors(points, labels, 5)
    scores = cosine_scores(shown, asked.flatten(1, 2))
    unit = torch.nn.functional.normalize
    for e in range(3):
        x, y = unit(shown[e], dim=2), torch.arange(4).repeat_interleave(5)
        weights = torch.nn.Parameter(unit(x.mean(1), dim=1))
        descent = torch.optim.SGD([weights], lr=0.1, momentum=0.9)
        for _ in range(100):
            descent.zero_grad()
            logits = 10 * x.flatten(0, 1) @ unit(weights, dim=1).t()
            torch.nn.functional.cross_entropy(logits, y).backward()
            descent.step()
        queries = unit(asked[e].flatten(0, 1), dim=1)
        expected = 10 * queries @ unit(weights.detach(), dim=1).t()
        torch.testing.assert_close(scores[e], expected, atol=1e-8, rtol=0)
    # It has moved away from the class means.
    means = unit(unit(shown, dim=3).mean(2), dim=2)
    start = 10 * unit(asked.flatten(1, 2), dim=2) @ means.mT
    assert float((scores - start).abs().max()) > 0.1
