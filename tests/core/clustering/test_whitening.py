"""PCA whitening against NumPy, faiss and known covariances."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ahpcl.core.clustering import whitening
from ahpcl.core.clustering.whitening import pca_whiten


def correlated(rows=300, size=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator)
    return torch.randn(rows, size, generator=generator) @ mixing + 3


def obvious(features, dim):
    """By a singular value decomposition of the centred rows."""
    rows = features.double().numpy()
    rows = rows - rows.mean(axis=0)
    left, _, _ = np.linalg.svd(rows, full_matrices=False)
    return left[:, :dim] * np.sqrt(len(rows))


def test_equals_a_singular_value_decomposition_up_to_signs():
    features = correlated()
    found = pca_whiten(features, 6).double().numpy()
    expected = obvious(features, 6)
    signs = np.sign((found * expected).sum(axis=0))
    assert found.shape == (300, 6)
    np.testing.assert_allclose(found, expected * signs, atol=2e-5)


def test_equals_faiss_after_normalisation():
    faiss = pytest.importorskip('faiss')
    features = correlated(seed=1)
    matrix = faiss.PCAMatrix(10, 6, -0.5)
    matrix.train(features.numpy())
    theirs = F.normalize(torch.from_numpy(matrix.apply(features.numpy())))
    ours = F.normalize(pca_whiten(features, 6))
    # Inner products see neither signs nor scale, nor does k-means.
    torch.testing.assert_close(
        ours @ ours.t(), theirs @ theirs.t(), atol=1e-4, rtol=0
    )


def test_chunks_change_nothing(monkeypatch):
    features = correlated()
    whole = pca_whiten(features, 4)
    monkeypatch.setattr(whitening, '_ROWS', 7)
    torch.testing.assert_close(
        pca_whiten(features, 4).abs(), whole.abs(), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize('offset', [0.0, 100.0])
def test_components_above_the_rank_are_zero(offset):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 3, generator=generator) @ torch.randn(
        3, 8, generator=generator
    )
    found = pca_whiten(features + offset, 6).double()
    assert torch.equal(found[:, 3:], torch.zeros(200, 3).double())
    covariance = found[:, :3].t() @ found[:, :3] / 200
    torch.testing.assert_close(
        covariance, torch.eye(3).double(), atol=1e-3, rtol=0
    )


def test_collapsed_features_give_zeros():
    generator = torch.Generator().manual_seed(0)
    rows = torch.full((50, 5), 0.3)
    rows *= 1 + 1e-7 * torch.randn(50, 5, generator=generator)
    assert torch.equal(pca_whiten(rows, 4), torch.zeros(50, 4))
    assert torch.equal(pca_whiten(rows * 0, 4), torch.zeros(50, 4))


def test_more_components_than_there_are():
    features = correlated()
    assert pca_whiten(features, 256).shape == (300, 10)
    few = pca_whiten(features[:4], 10)
    assert few.isfinite().all()
    assert int((few.abs().sum(0) > 0).sum()) == 3


def test_refuses_what_it_cannot_whiten():
    features = correlated()
    with pytest.raises(ValueError, match='dim >= 1, got 0'):
        pca_whiten(features, 0)
    features[3, 2] = float('nan')
    with pytest.raises(ValueError, match='finite features'):
        pca_whiten(features, 3)
    with pytest.raises(ValueError, match=r'shape \(N, D\)'):
        pca_whiten(torch.zeros(3), 3)
