import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from ahpcl.core.metrics import neighbours
from ahpcl.core.metrics.neighbours import (
    nearest_neighbours,
    neighbour_outliers,
    prototype_outliers,
)


@pytest.fixture
def features():
    return torch.randn(90, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('chunk_size', [7, 1000, None])
def test_neighbours_are_scikit_learns(features, chunk_size):
    query = features[:20] + 0.3
    judge = NearestNeighbors(n_neighbors=5, metric='cosine')
    judge.fit(features.double().numpy())
    distance, places = judge.kneighbors(query.double().numpy())
    found = nearest_neighbours(query, 3 * features, 5, chunk_size=chunk_size)
    assert torch.equal(found[1], torch.from_numpy(places))
    torch.testing.assert_close(
        found[0], 1 - torch.from_numpy(distance).float(), atol=1e-5, rtol=0
    )
    assert nearest_neighbours(query, features, 500)[0].shape == (20, 90)


@pytest.mark.parametrize('chunk_size', [7, 1000, None])
def test_outliers_are_far_from_their_neighbours(features, chunk_size):
    found = neighbour_outliers(features, k=4, chunk_size=chunk_size)
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    for i in range(90):
        others = sorted(
            float((unit[i] - unit[j]).norm()) for j in range(90) if j != i
        )
        assert float(found[i]) == pytest.approx(sum(others[:4]) / 4, abs=1e-4)
    # One that points elsewhere is the oddest.
    crowd = torch.ones(30, 6) + 0.1 * features[:30]
    crowd[11] = -crowd[11]
    assert int(neighbour_outliers(crowd).argmax()) == 11


def test_a_distance_counts_more_in_a_tight_cluster():
    found = prototype_outliers(
        torch.tensor([0.2, 0.2, 0.1]),
        torch.tensor([0, 1, 1]),
        torch.tensor([0.1, 0.4]),
    )
    assert found.tolist() == pytest.approx([2.0, 0.5, 0.25])


def test_memory_bounds_the_chunk(features, monkeypatch):
    whole = nearest_neighbours(features, features, 3)
    odd = neighbour_outliers(features)
    monkeypatch.setattr(neighbours, '_CELLS', 200)  # two queries at once
    sizes = []
    topk = torch.Tensor.topk

    def seen(rows, *args, **kwargs):
        sizes.append(len(rows))
        return topk(rows, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, 'topk', seen)
    found = nearest_neighbours(features, features, 3)
    assert sizes == [2] * 45
    assert torch.equal(found[1], whole[1])
    torch.testing.assert_close(neighbour_outliers(features), odd)
    assert sizes == [2] * 90


def test_what_does_not_fit_is_refused(features):
    with pytest.raises(ValueError, match='dimensions'):
        nearest_neighbours(features[:, :3], features, 2)
    with pytest.raises(ValueError, match='NaN'):
        nearest_neighbours(features * torch.nan, features, 2)
    with pytest.raises(ValueError, match='two images'):
        neighbour_outliers(features[:1])
    with pytest.raises(ValueError, match='distance and'):
        prototype_outliers(features[:, 0], torch.zeros(3).long(), features[0])
