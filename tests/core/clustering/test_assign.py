"""New points go where the clustering would have put them."""

import math

import pytest
import torch
import torch.nn.functional as F

from ahpcl.core import KMeansSettings, build_hierarchy
from ahpcl.core.clustering.assign import assign_points
from ahpcl.core.clustering.held_out import (
    held_out_distances,
    novelty_threshold,
)


def points(number, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(number, width, generator=generator), dim=1)


def slow_level(features, level, allowed=None):
    """Cluster, distance and probability of every row, one by one."""
    rows = []
    for number, row in enumerate(features.double()):
        cosines = [float(row @ c) for c in level.centroids.double()]
        logits = [
            c / float(phi)
            for c, phi in zip(cosines, level.concentration, strict=True)
        ]
        among = range(len(cosines)) if allowed is None else allowed[number]
        best = max(among, key=lambda place: cosines[place])
        total = sum(math.exp(v - max(logits)) for v in logits)
        share = math.exp(logits[best] - max(logits)) / total
        distance = float((row - level.centroids[best].double()).norm())
        rows.append((best, distance, share))
    return rows


def compare(found, rows):
    assert found.clusters.tolist() == [row[0] for row in rows]
    torch.testing.assert_close(
        found.distances, torch.tensor([row[1] for row in rows])
    )
    torch.testing.assert_close(
        found.probabilities, torch.tensor([row[2] for row in rows])
    )


@pytest.mark.parametrize(
    'linkage', ['independent', 'agglomerative', 'divisive']
)
def test_as_a_slow_loop_finds(linkage):
    hierarchy = build_hierarchy(points(200), [20, 6, 2], linkage=linkage)
    new = points(40, seed=1)
    found = assign_points(new, hierarchy, linkage=linkage)
    levels = hierarchy.levels
    if linkage == 'independent':
        for level, own in zip(levels, found, strict=True):
            compare(own, slow_level(new, level))
    elif linkage == 'agglomerative':
        allowed = None
        for level, own in zip(levels, found, strict=True):
            compare(own, slow_level(new, level, allowed))
            if level.parents is not None:
                allowed = [[int(level.parents[c])] for c in own.clusters]
    else:
        allowed = None
        for level, own in reversed(list(zip(levels, found, strict=True))):
            compare(own, slow_level(new, level, allowed))
            place = levels.index(level)
            if place:
                finer = levels[place - 1].parents.tolist()
                allowed = [
                    [k for k, parent in enumerate(finer) if parent == c]
                    for c in own.clusters.tolist()
                ]


@pytest.mark.parametrize(
    'linkage', ['independent', 'agglomerative', 'divisive']
)
def test_the_points_that_were_clustered_stay_where_they_are(linkage):
    features = points(300)
    hierarchy = build_hierarchy(features, [30, 10, 3], linkage=linkage)
    found = assign_points(features, hierarchy, linkage=linkage)
    for level, own in zip(hierarchy.levels, found, strict=True):
        assert torch.equal(own.clusters, level.assignments)
        torch.testing.assert_close(own.distances, level.distances(features))


def test_many_points_go_through_in_parts(monkeypatch):
    hierarchy = build_hierarchy(points(100), [10, 3])
    new = points(57, seed=2)
    straight = assign_points(new, hierarchy)
    monkeypatch.setattr('ahpcl.core.clustering.assign._CELLS', 70)
    for one, other in zip(
        straight, assign_points(new, hierarchy), strict=True
    ):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ('features', 'said'),
    [
        (torch.zeros(3, 5), r'\(M, 6\).*\(3, 5\)'),
        (torch.full((2, 6), torch.nan), 'NaN or infinity in 2 of 2 rows'),
    ],
)
def test_what_is_no_feature_is_refused(features, said):
    hierarchy = build_hierarchy(points(20), [2])
    with pytest.raises(ValueError, match=said):
        assign_points(features, hierarchy)


def test_distances_are_of_prototypes_without_the_image():
    # Ten far points, each alone in its cluster if it is among the clustered.
    features = torch.eye(10)
    fitted = build_hierarchy(features, [8]).levels[0].distances(features)
    held_out = held_out_distances(features, 8)
    assert float(fitted.median()) < 1e-3
    # Without the image its nearest prototype is orthogonal to it.
    torch.testing.assert_close(held_out, torch.full((10,), math.sqrt(2)))


def test_the_rate_of_new_points_beyond_the_threshold():
    everything = points(6000, width=8)
    found = novelty_threshold(
        everything[:3000], 20, KMeansSettings(n_iter=5), rate=0.05
    )
    hierarchy = build_hierarchy(everything[:3000], [20])
    (new,) = assign_points(everything[3000:], hierarchy)
    beyond = float((new.distances > found.distance).double().mean())
    assert abs(beyond - 0.05) < 0.02
    assert abs(found.measured - 0.05) < 0.02
    assert found.num_images == 1500


def test_too_few_images_tell_nothing():
    assert novelty_threshold(points(9), 2) is None
    assert novelty_threshold(points(30), 16) is None
