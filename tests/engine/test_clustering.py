"""Settings of the E-step's clustering."""

import pytest
import torch
import torch.nn.functional as F

from ahpcl.engine import KMeansClustering


def cluster(**settings):
    source = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(90, 5, generator=source))
    return KMeansClustering(n_init=1, **settings)(
        features, (9, 4), linkage='agglomerative', temperature=0.3, seed=0
    )


def test_a_fixed_concentration_is_tau_and_nothing_else_changes():
    estimated, fixed = cluster(), cluster(concentration='fixed')
    for ours, theirs in zip(fixed, estimated, strict=True):
        assert torch.equal(
            ours.concentration, torch.full((ours.num_clusters,), 0.3)
        )
        assert theirs.concentration.std() > 1e-3
        assert torch.equal(ours.centroids, theirs.centroids)
        assert torch.equal(ours.assignments, theirs.assignments)
        assert (ours.parents is None) == (theirs.parents is None)
        assert ours.objective == theirs.objective


def test_another_concentration_is_refused():
    with pytest.raises(ValueError, match="'estimated' or 'fixed', got 'tau'"):
        KMeansClustering(concentration='tau')
