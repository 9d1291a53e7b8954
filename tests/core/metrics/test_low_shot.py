import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from ahpcl.core.metrics.low_shot import (
    average_precision,
    low_shot_svm,
    svm_scores,
)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(30)
    centres = torch.randn(4, 6, generator=generator)
    features = centres[labels] + torch.randn(120, 6, generator=generator)
    test = torch.arange(120) % 3 == 0
    return features[~test], labels[~test], features[test], labels[test]


def slow_average_precision(scores, truth):
    """Every threshold in turn, as VOC's development kit defines it."""
    pairs = [(s, t) for s, t in zip(scores, truth, strict=True) if t >= 0]
    pairs.sort(key=lambda pair: -pair[0])
    total = sum(t for _, t in pairs)
    points = []
    for cut in range(1, len(pairs) + 1):
        hits = sum(t for _, t in pairs[:cut])
        points.append((hits / total, hits / cut))
    area, last = 0.0, 0.0
    for recall, _ in points:
        if recall > last:
            best = max(p for r, p in points if r >= recall)
            area += (recall - last) * best
            last = recall
    return 100 * area


def test_average_precision_is_that_of_its_definition():
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        scores = torch.randn(60, generator=generator)
        truth = torch.randint(-1, 2, (60,), generator=generator)
        expected = slow_average_precision(scores.tolist(), truth.tolist())
        assert average_precision(scores, truth) == pytest.approx(expected)
    assert (
        average_precision(torch.tensor([3.0, 1, 2]), torch.tensor([1, 0, 1]))
        == 100
    )
    with pytest.raises(ValueError, match='got none'):
        average_precision(torch.rand(3), torch.zeros(3))


def test_all_images_give_scikit_learns_machines(data):
    train, labels, test, truth = data
    found = low_shot_svm(train, labels, test, truth, shots=None)
    unit = torch.nn.functional.normalize
    scores = []
    for cls in range(4):
        model = LinearSVC(
            C=0.5, class_weight={1: 2, -1: 1}, random_state=0, max_iter=2000
        )
        target = np.where(labels.numpy() == cls, 1, -1)
        model.fit(unit(train, dim=1).double().numpy(), target)
        rows = unit(test, dim=1).double().numpy()
        scores.append(model.decision_function(rows))
    answers = np.argmax(scores, axis=0)
    expected = 100 * (answers == truth.numpy()).mean()
    assert found.mean == pytest.approx(expected)
    assert found.draws == (found.mean,)
    assert found.std == 0


def test_draws_repeat_and_differ_and_more_images_help(data):
    one = low_shot_svm(*data, shots=1, draws=8)
    assert one == low_shot_svm(*data, shots=1, draws=8)
    assert one != low_shot_svm(*data, shots=1, draws=8, seed=1)
    assert len(set(one.draws)) > 1
    assert one.std == pytest.approx(np.std(one.draws))
    assert low_shot_svm(*data, shots=16).mean > one.mean


def test_several_labels_of_an_image(data):
    train, labels, test, truth = data
    many = torch.nn.functional.one_hot(labels)
    many[::7, 0] = -1  # difficult ones
    wanted = torch.nn.functional.one_hot(truth)
    wanted[::5, 1] = -1
    found = low_shot_svm(train, many, test, wanted, shots=None)
    unit = torch.nn.functional.normalize
    scores = svm_scores(unit(train, dim=1), many, unit(test, dim=1), 0.5)
    expected = [
        slow_average_precision(scores[:, c].tolist(), wanted[:, c].tolist())
        for c in range(4)
    ]
    assert found.mean == pytest.approx(np.mean(expected))
    # An image that does not count changes nothing of its class.
    other = train.clone()
    other[::7] += 5
    again = svm_scores(unit(other, dim=1), many, unit(test, dim=1), 0.5)
    assert torch.equal(again[:, 0], scores[:, 0])
    assert not torch.equal(again[:, 1], scores[:, 1])


def test_the_cost_is_chosen_on_drawn_images(data):
    poor = low_shot_svm(*data, shots=8, costs=[1e-7])
    good = low_shot_svm(*data, shots=8, costs=[1.0])
    both = low_shot_svm(*data, shots=8, costs=[1e-7, 1.0])
    assert poor.mean != good.mean
    assert both.mean >= min(poor.mean, good.mean)
    # One image of a class leaves nothing to validate on.
    alone = low_shot_svm(*data, shots=1, costs=[1e-7, 1.0])
    assert alone == low_shot_svm(*data, shots=1, costs=[1e-7])


def test_numbers_without_a_class_are_never_the_answer(data):
    """All planes of a hard image may say no: 0 would win."""
    train, labels, test, truth = data
    for settings in (dict(shots=2), dict(shots=8, costs=[1e-7, 1.0])):
        found = low_shot_svm(train, 3 * labels, test, 3 * truth, **settings)
        assert found == low_shot_svm(*data, **settings)


def test_what_does_not_fit_is_refused(data):
    train, labels, test, truth = data
    with pytest.raises(ValueError, match='21 images'):
        low_shot_svm(*data, shots=21)
    with pytest.raises(ValueError, match='labels of N'):
        low_shot_svm(train, labels[:3], test, truth, shots=1)
    with pytest.raises(ValueError, match=r'shots.*got 0'):
        low_shot_svm(*data, shots=0)
    with pytest.raises(ValueError, match='one cost'):
        low_shot_svm(*data, shots=1, costs=[])
