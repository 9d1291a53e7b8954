import pytest
import torch
import torch.nn.functional as F

from ahpcl.core import PrototypeLevel
from ahpcl.core.clustering.lineage import lineage


def level(assignments, clusters, parents=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return PrototypeLevel(
        F.normalize(torch.randn(clusters, 4, generator=generator), dim=1),
        torch.tensor(assignments),
        torch.full((clusters,), 0.2),
        None if parents is None else torch.tensor(parents),
    )


def test_the_parent_of_an_independent_cluster_has_most_of_its_images():
    generator = torch.Generator().manual_seed(3)
    fine = torch.randint(0, 9, (200,), generator=generator).tolist()
    coarse = torch.randint(0, 3, (200,), generator=generator).tolist()
    found = lineage(level(fine, 9), level(coarse, 3))
    for cluster in range(9):
        own = [c for f, c in zip(fine, coarse, strict=True) if f == cluster]
        counts = [own.count(parent) for parent in range(3)]
        assert found.parents[cluster] == counts.index(max(counts))
        assert found.share[cluster] == pytest.approx(max(counts) / len(own))


def test_nested_levels_keep_their_parents():
    fine = level([0, 0, 1, 2], 3, parents=[1, 0, 0])
    found = lineage(fine, level([1, 1, 0, 0], 2))
    assert found.parents.tolist() == [1, 0, 0]
    assert found.share.tolist() == [1, 1, 1]


def test_a_cluster_without_images_goes_to_the_nearest_centroid():
    fine, coarse = level([0, 0, 2], 3), level([0, 1, 1], 2, seed=1)
    nearest = (coarse.centroids @ fine.centroids[1]).argmax()
    found = lineage(fine, coarse)
    assert found.parents[1] == nearest
    assert found.share[1] == 0


def test_levels_of_other_images_are_refused():
    with pytest.raises(ValueError, match='same images, got 2 and 3'):
        lineage(level([0, 1], 2), level([0, 0, 0], 1))
