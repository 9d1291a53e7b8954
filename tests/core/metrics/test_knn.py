import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from ahpcl.core.metrics import knn_accuracy, knn_classify
from ahpcl.core.metrics.knn import knn_predictions


def blobs(num, seed, dim=6, classes=4, noise=1.0):
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    labels = generator.integers(classes, size=num)
    points = centres[labels] + noise * generator.normal(size=(num, dim))
    return torch.from_numpy(points), torch.from_numpy(labels)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('k', [1, 5, 20, 300])
def test_parity_with_scikit_learn(dtype, weighted, k):
    reference, labels = blobs(300, seed=1)
    query, _ = blobs(157, seed=2)
    judge = KNeighborsClassifier(
        n_neighbors=k,
        metric='cosine',
        algorithm='brute',
        weights=(lambda d: np.exp((1 - d) / 0.07)) if weighted else 'uniform',
    ).fit(reference.numpy(), labels.numpy())
    expected = judge.predict(query.numpy())
    got = knn_classify(
        reference.to(dtype), labels, query.to(dtype), k=k, weighted=weighted
    )
    assert len(set(expected)) > 1 or k == 300
    np.testing.assert_array_equal(got.numpy(), expected)


def test_weights_by_hand():
    # Cosines 0.8 for the one of class 0, 0.6 for the two of class 1.
    reference = torch.tensor([[0.8, 0.6], [0.6, 0.8], [0.6, -0.8]])
    labels = torch.tensor([0, 1, 1])
    query = torch.tensor([[3.0, 0.0]])
    assert knn_classify(reference, labels, query, k=1).item() == 0
    # exp(0.8 / t) against 2 exp(0.6 / t): equal at t = 0.2 / log 2 = 0.2885
    for temperature, expected in ((0.28, 0), (0.30, 1)):
        got = knn_classify(
            reference, labels, query, k=3, temperature=temperature
        )
        assert got.item() == expected
    got = knn_classify(reference, labels, query, k=3, weighted=False)
    assert got.item() == 1


def test_a_tiny_temperature_does_not_overflow():
    reference, labels = blobs(50, seed=1)
    query, _ = blobs(30, seed=2)
    nearest = knn_classify(reference, labels, query, k=1)
    got = knn_classify(reference, labels, query, k=9, temperature=1e-5)
    assert torch.equal(got, nearest)


def test_k_above_n_is_n():
    reference, labels = blobs(7, seed=1)
    query, _ = blobs(20, seed=2)
    for weighted in (True, False):
        got, expected = (
            knn_classify(reference, labels, query, k=k, weighted=weighted)
            for k in (200, 7)
        )
        assert torch.equal(got, expected)


@pytest.mark.parametrize('number', [0, 1, 99, 100, 101])
def test_any_number_of_queries(number):
    reference, labels = blobs(40, seed=1)
    query, _ = blobs(120, seed=2)
    everything = knn_classify(reference, labels, query)
    got = knn_classify(reference, labels, query[:number])
    assert torch.equal(got, everything[:number])


@pytest.mark.parametrize('chunk_size', [1, 7, 64, 1000])
def test_chunks_change_nothing(chunk_size):
    generator = torch.Generator().manual_seed(0)
    # Directions on the axes: cosines are exact and full of ties.
    reference = torch.eye(5)[torch.randint(5, (60,), generator=generator)]
    labels = torch.randint(3, (60,), generator=generator)
    query = torch.eye(5)[torch.randint(5, (130,), generator=generator)]
    for weighted in (True, False):
        got = knn_classify(
            reference,
            labels,
            query,
            k=4,
            weighted=weighted,
            chunk_size=chunk_size,
        )
        for row, axis in enumerate(query.argmax(dim=1).tolist()):
            # Slow: equal ones in index order, then the lowest class.
            same = [i for i in range(60) if reference[i, axis] == 1]
            other = [i for i in range(60) if reference[i, axis] == 0]
            voters = (same + other)[:4]
            assert len(same) >= 4
            counts = [
                sum(int(labels[i]) == c for i in voters) for c in range(3)
            ]
            assert got[row] == counts.index(max(counts))


def test_ties_of_votes_go_to_the_lowest_class():
    reference = torch.tensor([[1.0, 0.0]] * 6)
    labels = torch.tensor([5, 3, 5, 3, 1, 4])
    for weighted in (True, False):
        got = knn_classify(
            reference, labels, reference[:1], k=4, weighted=weighted
        )
        assert got.item() == 3


def test_accuracy_in_percent():
    reference = torch.eye(4)
    labels = torch.tensor([0, 1, 2, 1])
    query = torch.eye(4) + 0.1
    truth = torch.tensor([0, 1, 2, 0])
    accuracy = knn_accuracy(reference, labels, query, truth, k=1)
    assert accuracy == pytest.approx(75.0)
    assert isinstance(accuracy, float)
    more = knn_accuracy(reference, labels, query, truth, k=1, num_classes=9)
    assert more == accuracy


GOOD = {
    'reference': torch.eye(3),
    'reference_labels': torch.arange(3),
    'query': torch.eye(3),
}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'reference': torch.ones(3)}, r'reference features.*\(N, D\)'),
        ({'query': torch.ones(3, 2)}, r'\(3, 3\) and \(3, 2\)'),
        (
            {
                'reference': torch.ones(0, 3),
                'reference_labels': torch.arange(0),
            },
            'at least one reference',
        ),
        ({'query': torch.tensor([[1, 2, torch.nan]])}, 'query.*1 rows'),
        ({'reference': torch.eye(3) / 0}, 'finite reference.*3 rows'),
        ({'reference_labels': torch.arange(2)}, 'each of 3 references'),
        ({'reference_labels': torch.ones(3)}, 'integer label.*float32'),
        ({'reference_labels': torch.arange(3) - 1}, 'got -1 to 1'),
        ({'num_classes': 2}, 'from 0 to 1, got 0 to 2'),
        ({'k': 0}, 'k >= 1, got 0'),
        ({'temperature': 0}, 'above 0'),
        ({'temperature': -1.0}, 'got -1.0'),
        ({'chunk_size': 0}, 'chunk_size >= 1'),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        knn_classify(**{**GOOD, **change})


def test_accuracy_needs_queries_with_labels():
    with pytest.raises(ValueError, match='one query'):
        knn_accuracy(
            **{**GOOD, 'query': torch.ones(0, 3)}, query_labels=torch.arange(0)
        )
    with pytest.raises(ValueError, match='one label'):
        knn_accuracy(**GOOD, query_labels=torch.arange(2))


@pytest.mark.parametrize('weighted', [True, False])
def test_several_k_at_once_are_scikit_learns(weighted):
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(0, 7, (300,), generator=generator)
    centres = torch.randn(7, 12, generator=generator)
    features = centres[labels] + torch.randn(300, 12, generator=generator)
    reference, query = features[:220], features[220:]
    ks = [1, 5, 20, 200, 500]
    found = knn_predictions(
        reference, labels[:220], query, ks=ks, weightings=[True, False]
    )
    assert list(found) == [(k, w) for k in ks for w in (True, False)]
    for k in ks:
        model = KNeighborsClassifier(
            min(k, 220),
            metric='cosine',
            weights=(lambda d: np.exp((1 - d) / 0.07))
            if weighted
            else 'uniform',
        )
        model.fit(reference.double().numpy(), labels[:220].numpy())
        expected = model.predict_proba(query.double().numpy())
        votes = np.sort(expected, axis=1)
        clear = votes[:, -1] - votes[:, -2] > 1e-6  # no tie of classes
        assert clear.mean() > 0.5
        answers = found[k, weighted].numpy()
        assert (answers == expected.argmax(1))[clear].all()


def test_no_k_is_refused():
    rows = torch.ones(3, 2)
    with pytest.raises(ValueError, match='one k'):
        knn_predictions(rows, torch.zeros(3).long(), rows, ks=[])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_a_gpu_answers_alike():
    reference, labels = blobs(300, seed=1)
    query, _ = blobs(157, seed=2)
    settings = dict(ks=[1, 20], weightings=[True, False])
    expected = knn_predictions(reference, labels, query, **settings)
    found = knn_predictions(reference.cuda(), labels, query.cuda(), **settings)
    for key, answers in expected.items():
        assert found[key].is_cuda
        assert torch.equal(found[key].cpu(), answers)
