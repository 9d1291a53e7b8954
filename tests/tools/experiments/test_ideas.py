"""What is on trial for gate 2c, against obvious loops."""

import pytest
import torch
import torch.nn.functional as F

from ahpcl.core import PrototypeHierarchy, PrototypeLevel
from tools_modules import tool_modules


@pytest.fixture(scope='module')
def ideas():
    names = ('_paths', '_oracle', '_ideas')
    with tool_modules('experiments', *names) as modules:
        yield modules['_ideas']


@pytest.fixture
def level():
    generator = torch.manual_seed(0)
    return PrototypeLevel(
        F.normalize(torch.randn(20, 8, generator=generator), dim=1),
        torch.randint(20, (50,), generator=generator),
        torch.rand(20, generator=generator) + 0.1,
    )


INDEX = torch.tensor([3, 9, 14, 22, 30, 41])


def test_the_nearest_prototypes_are_no_negatives(ideas, level):
    selection = ideas.FarNegatives(share=0.2)
    (mask,) = selection.prototype_masks(
        PrototypeHierarchy([level]), INDEX, None
    )
    for row, image in zip(mask, INDEX, strict=True):
        own = level.centroids[level.assignments[image]]
        order = sorted(
            range(20), key=lambda k: -float(own @ level.centroids[k])
        )
        assert sorted((~row).nonzero().flatten().tolist()) == sorted(order[:4])


def test_whitened_clusters_have_their_means_as_prototypes(ideas):
    generator = torch.manual_seed(0)
    rows = torch.randn(120, 4, generator=generator)
    rows[:, 0] *= 20  # k-means of the rows themselves sees nothing else
    rows[:60, 1] += 6
    rows = F.normalize(rows + 8, dim=1)
    request = ideas.ClusterRequest((2,), 'independent', 0.2, 0)
    (level,) = ideas.WhitenedClustering()(rows, request).levels
    for cluster in range(2):
        mean = rows[level.assignments == cluster].mean(0)
        torch.testing.assert_close(
            level.centroids[cluster], F.normalize(mean, dim=0)
        )
    (plain,) = ideas.KMeansClustering()(rows, request).levels
    assert (plain.assignments != level.assignments).any()


def test_a_classifier_starts_with_the_centroids_of_every_e_step(ideas, level):
    loss = ideas.ClassifierLoss(clusters=[20], dim=8, temperature=0.5)
    query = F.normalize(torch.randn(6, 8), dim=1)
    first, accuracy = loss(query, level, INDEX)
    expected, hits = [], 0
    for row, image in zip(query, INDEX, strict=True):
        scores = torch.stack([row @ c / 0.5 for c in level.centroids])
        own = level.assignments[image]
        expected.append(torch.logsumexp(scores, 0) - scores[own])
        hits += int(scores.argmax() == own)
    torch.testing.assert_close(first, torch.stack(expected).mean())
    assert accuracy == pytest.approx(100 * hits / 6)
    first.backward()
    with torch.no_grad():
        loss.weights['20'] -= loss.weights['20'].grad
    second, _ = loss(query, level, INDEX)  # the same E-step: it has learnt
    assert second < first
    again = PrototypeLevel(
        level.centroids, level.assignments, level.concentration
    )
    torch.testing.assert_close(loss(query, again, INDEX)[0], first)


def test_a_kept_classifier_starts_once(ideas, level):
    loss = ideas.ClassifierLoss(clusters=[20], dim=8, start='kept')
    query = F.normalize(torch.randn(6, 8), dim=1)
    loss(query, level, INDEX)
    weights = loss.weights['20'].detach().clone()
    assert weights.any()
    again = PrototypeLevel(
        level.centroids, level.assignments, level.concentration
    )
    loss(query, again, INDEX)
    assert torch.equal(loss.weights['20'], weights)
