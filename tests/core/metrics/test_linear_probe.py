import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ahpcl.core.metrics.linear_probe import (
    logistic_probe,
    probe_with_choice,
    sgd_probe,
)
from ahpcl.core.metrics.stratified import stratified_count, stratified_share


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(8).repeat_interleave(40)
    centres = torch.randn(8, 10, generator=generator)
    features = 3 + centres[labels] + torch.randn(320, 10, generator=generator)
    test = torch.arange(320) % 4 == 0
    return features[~test], labels[~test], features[test], labels[test]


@pytest.mark.parametrize('c', [0.01, 1.0])
def test_logistic_regression_is_scikit_learns(data, c):
    train, labels, test, _ = data
    (scores,) = logistic_probe(train, labels, test, [c], tol=1e-8)
    scale = StandardScaler().fit(train.double().numpy())
    model = LogisticRegression(C=c, tol=1e-8, max_iter=5000)
    model.fit(scale.transform(train.double().numpy()), labels.numpy())
    rows = scale.transform(test.double().numpy())
    np.testing.assert_allclose(
        scores.softmax(1), model.predict_proba(rows), atol=2e-3
    )
    assert (scores.argmax(1).numpy() == model.predict(rows)).all()


def test_two_classes_and_classes_without_an_image(data):
    train, labels, test, _ = data
    few = labels < 2
    (scores,) = logistic_probe(train[few], 3 * labels[few], test, [1.0])
    assert scores.shape == (80, 4)
    assert set(scores.argmax(1).tolist()) == {0, 3}
    assert bool((scores[:, 1:3] == -math.inf).all())


def test_sgd_is_that_of_torch_for_every_rate(data):
    train, labels, test, _ = data
    rates = [0.3, 0.01]
    settings = dict(epochs=4, batch_size=50, weight_decay=0.1, seed=3)
    found = sgd_probe(train, labels, test, rates, **settings)
    rows = (train - train.mean(0)) / train.std(0, unbiased=False)
    asked = (test - train.mean(0)) / train.std(0, unbiased=False)
    for rate, scores in zip(rates, found, strict=True):
        layer = torch.nn.Linear(10, 8)
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        groups = [
            dict(params=[layer.weight], weight_decay=0.1),
            dict(params=[layer.bias], weight_decay=0.0),
        ]
        sgd = torch.optim.SGD(groups, lr=rate, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 4 * 5)
        generator = torch.Generator().manual_seed(3)
        for _ in range(4):
            order = torch.randperm(240, generator=generator)
            for places in order.split(50):
                sgd.zero_grad()
                loss = torch.nn.functional.cross_entropy(
                    layer(rows[places]), labels[places]
                )
                loss.backward()
                sgd.step()
                schedule.step()
        torch.testing.assert_close(
            scores, layer(asked).detach(), atol=1e-4, rtol=1e-4
        )


def nearest_mean(train, labels, test, grid):
    """Scores of the class means, times the setting: below 0 all is wrong."""
    means = torch.stack([train[labels == c].mean(0) for c in range(8)])
    return torch.stack([-g * torch.cdist(test, means) for g in grid])


def test_the_setting_is_chosen_on_references_alone(data):
    train, labels, test, _ = data
    grid = [-1.0, 2.0, 0.0]
    found = probe_with_choice(nearest_mean, train, labels, test, grid=grid)
    assert found.setting == 2.0
    assert not found.at_edge
    (expected,) = nearest_mean(train, labels, test, [2.0])
    assert torch.equal(found.scores, expected)
    out = stratified_share(labels, 0.2)
    tried = nearest_mean(train[~out], labels[~out], train[out], grid)
    hits = tried.argmax(2) == labels[out]
    assert found.accuracies == pytest.approx(
        (100 * hits.double().mean(1)).tolist()
    )
    # What is tested has no say in the choice.
    again = probe_with_choice(
        nearest_mean, train, labels, test.flip(0), grid=grid
    )
    assert again.accuracies == found.accuracies
    edge = probe_with_choice(
        nearest_mean, train, labels, test, grid=[2.0, -1.0, 0.0]
    )
    assert edge.at_edge
    equal = probe_with_choice(
        nearest_mean, train, labels, test, grid=[1.0, 2.0, 3.0]
    )
    assert equal.setting == 1.0
    assert not equal.at_edge


def test_a_share_keeps_the_classes():
    labels = torch.tensor([0] * 10 + [1] * 3 + [2] * 2 + [3])
    chosen = stratified_share(labels, 0.2, seed=1)
    counts = [int(chosen[labels == c].sum()) for c in range(4)]
    assert counts == [2, 1, 1, 0]
    assert torch.equal(chosen, stratified_share(labels, 0.2, seed=1))
    assert not torch.equal(chosen, stratified_share(labels, 0.2, seed=2))
    with pytest.raises(ValueError, match='got 1'):
        stratified_share(labels, 1)


def test_a_count_is_the_same_for_every_class():
    labels = torch.tensor([5, 2, 5, 5, 2, 2, 2])
    chosen = stratified_count(labels, 3, seed=4)
    assert [int(chosen[labels == c].sum()) for c in (2, 5)] == [3, 3]
    with pytest.raises(ValueError, match='got 3 of class 5'):
        stratified_count(labels, 4)


def test_what_does_not_fit_is_refused(data):
    train, labels, test, _ = data
    with pytest.raises(ValueError, match='integer label'):
        sgd_probe(train, labels[:5], test, [0.1])
    with pytest.raises(ValueError, match='test features'):
        logistic_probe(train, labels, test[:, :4], [1.0])
    with pytest.raises(ValueError, match='two classes'):
        sgd_probe(train, torch.zeros_like(labels), test, [0.1])
    with pytest.raises(ValueError, match='setting'):
        probe_with_choice(sgd_probe, train, labels, test, grid=[])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_a_gpu_learns_the_same(data):
    train, labels, test, _ = data
    rates = [0.3, 0.01]
    expected = sgd_probe(train, labels, test, rates, epochs=3)
    found = sgd_probe(train.cuda(), labels, test.cuda(), rates, epochs=3)
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
@pytest.mark.parametrize('fit', [logistic_probe, sgd_probe])
def test_a_setting_is_chosen_for_features_on_a_gpu(data, fit):
    train, labels, test, _ = data
    expected = probe_with_choice(fit, train, labels, test, grid=[0.1, 1.0])
    found = probe_with_choice(
        fit, train.cuda(), labels, test.cuda(), grid=[0.1, 1.0]
    )
    assert found.setting == expected.setting
    torch.testing.assert_close(
        found.scores.cpu(), expected.scores, atol=1e-2, rtol=1e-2
    )
