"""What a finished run keeps of its images."""

import pytest
import torch
import torch.nn.functional as F

from ahpcl.core import build_hierarchy
from ahpcl.engine import training_index
from ahpcl.engine.training_index import TrainingIndex


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(3)
    return F.normalize(torch.randn(120, 6, generator=generator), dim=1)


def test_it_comes_back_from_its_state(features, tmp_path):
    hierarchy = build_hierarchy(features, [12, 4], linkage='divisive')
    index = TrainingIndex.of(features, hierarchy, linkage='divisive')
    path = tmp_path / 'index.pth'
    torch.save(index.state_dict(), path)
    state = torch.load(path, weights_only=True)
    again = TrainingIndex.from_state_dict(state)
    assert again.linkage == 'divisive' and again.space == 'keys'
    assert again.agreement == (1.0, 1.0)
    assert again.exemplars is None
    assert again.threshold == index.threshold
    torch.testing.assert_close(again.keys, features.half())
    with pytest.raises(ValueError, match='version 1, got 2'):
        TrainingIndex.from_state_dict({**state, 'version': 2})


def test_of_many_images_the_nearest_to_prototypes(features, monkeypatch):
    hierarchy = build_hierarchy(features, [12, 4])
    monkeypatch.setattr(training_index, 'KEY_BYTES', 2 * features.numel() - 1)
    index = TrainingIndex.of(features, hierarchy, linkage='independent')
    assert index.keys is None
    for level, found in zip(hierarchy.levels, index.exemplars, strict=True):
        for centroid, own in zip(level.centroids, found, strict=True):
            distances = [float((row - centroid).norm()) for row in features]
            order = sorted(range(120), key=distances.__getitem__)
            assert own.tolist() == order[:10]
