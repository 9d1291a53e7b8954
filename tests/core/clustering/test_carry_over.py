"""Images that come and go keep the clusters of the others."""

import pytest
import torch
import torch.nn.functional as F

from ahpcl.core import build_hierarchy
from ahpcl.core.clustering.carry_over import carry_over


def points(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(number, 8, generator=generator), dim=1)


@pytest.mark.parametrize(
    'linkage', ['independent', 'agglomerative', 'divisive']
)
def test_known_images_keep_their_clusters_and_new_ones_join(linkage):
    rows = points(90)
    old = build_hierarchy(rows[:60], (12, 4), linkage=linkage)
    # Some are gone, others stand elsewhere, thirty are new.
    order = [*range(59, 20, -1), *range(60, 90)]
    places = torch.tensor([i if i < 60 else -1 for i in order])
    now = carry_over(old, places, rows[order])
    for place, (before, after) in enumerate(zip(old, now, strict=True)):
        assert torch.equal(before.centroids, after.centroids)
        assert torch.equal(before.concentration, after.concentration)
        for image, own in zip(order, after.assignments, strict=True):
            if image < 60:
                assert own == before.assignments[image]
                continue
            expected = (before.centroids @ rows[image]).argmax()
            if place and linkage != 'independent':
                fine = (old[0].centroids @ rows[image]).argmax()
                expected = old[0].parents[fine]
            assert own == expected


def test_no_features_are_needed_where_all_are_known():
    old = build_hierarchy(points(40), (5,))
    places = torch.arange(39, 9, -1)
    now = carry_over(old, places)
    assert torch.equal(now[0].assignments, old[0].assignments[places])
    places[3] = -1
    with pytest.raises(ValueError, match='1 new'):
        carry_over(old, places)
