import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ahpcl.core.clustering import search, search_engines
from ahpcl.core.clustering.rows import rank_in_segment, segment_sum
from ahpcl.core.clustering.search import (
    available_backends,
    exact_nearest,
    find_nearest,
    is_exact,
    nearest,
    resolve_backend,
)
from ahpcl.core.clustering.search_engines import block_shape
from ahpcl.core.clustering.settings import BACKENDS, KMeansSettings


def points(n, d, seed=0, unit=True):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, d, generator=generator)
    return F.normalize(rows, dim=1) if unit else rows


@pytest.mark.parametrize('backend', ['torch', 'faiss', 'superkmeans', 'auto'])
@pytest.mark.parametrize('unit', [True, False])
@pytest.mark.parametrize('k', [1, 7, 300])
def test_nearest_is_the_smallest_distance(backend, unit, k):
    if backend in ('faiss', 'superkmeans'):
        pytest.importorskip(backend)
    x, c = points(5000, 16, 1, unit), points(k, 16, 2, unit)
    expected = torch.cdist(x.double(), c.double()).argmin(dim=1)
    found = nearest(x, c, backend=backend)
    assert found.dtype == torch.long
    # Near ties aside, of which random points have none.
    assert torch.equal(found, expected)


def test_search_is_float32_under_autocast_and_for_half():
    x, c = points(2000, 64, 1), points(400, 64, 2)
    expected = nearest(x, c)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(nearest(x, c), expected)
    half = x.to(torch.bfloat16)
    assert torch.equal(
        nearest(half, c), torch.cdist(half.float(), c).argmin(dim=1)
    )


@pytest.mark.parametrize('chunk_mib', [1, 2.5, None])
@pytest.mark.parametrize(('n', 'k'), [(1500, 700), (3000, 3000), (7, 9000)])
def test_blocks_of_any_size_give_the_same(n, k, chunk_mib):
    x, c = points(n, 8, 1), points(k, 8, 2)
    settings = KMeansSettings(backend='torch', chunk_mib=chunk_mib)
    expected = torch.cdist(x.double(), c.double()).argmin(dim=1)
    assert torch.equal(find_nearest(x, c, settings), expected)
    rows, columns = block_shape(k, x.device, chunk_mib)
    assert rows * columns * 4 <= (chunk_mib or 4) * 2**20


def test_equal_centroids_in_two_blocks_give_the_first():
    c = points(3000, 4, 2)
    c[2900] = c[5]
    settings = KMeansSettings(backend='torch', chunk_mib=1)
    found = find_nearest(c[5:6], c, settings)
    assert found.tolist() == [5]


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_reduced_precision_is_near_and_the_exact_search_exact(dtype):
    x, c = points(2000, 32, 1), points(200, 32, 2)
    settings = KMeansSettings(backend='torch', precision=dtype)
    expected = nearest(x, c, backend='torch')
    found = find_nearest(x, c, settings)
    # Another cluster only where it is nearly as near.
    gap = (x - c[found]).norm(dim=1) - (x - c[expected]).norm(dim=1)
    assert 0 < (found != expected).float().mean() < 0.1
    assert gap.max() < 0.02
    assert torch.equal(exact_nearest(x, c, settings), expected)
    assert not is_exact(settings, x.device, 200)


def test_a_library_that_fails_in_mid_run_is_replaced(monkeypatch):
    def gone(features, centroids):
        raise ImportError('no module named faiss')

    monkeypatch.setitem(search_engines.LIBRARIES, 'faiss', gone)
    x, c = points(50, 8, 1), points(5, 8, 2)
    with pytest.warns(UserWarning, match='done by backend="torch"'):
        found = find_nearest(x, c, KMeansSettings(backend='faiss'))
    assert torch.equal(found, nearest(x, c, backend='torch'))


def test_auto_on_the_cpu_depends_on_size_and_what_is_there(monkeypatch):
    cpu = torch.device('cpu')
    assert resolve_backend('auto', cpu, 10) == 'torch'
    assert resolve_backend('auto', torch.device('cuda'), 1000) == 'torch'
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    search._mention_superkmeans.cache_clear()
    with pytest.warns(UserWarning, match='pip install superkmeans') as said:
        assert resolve_backend('auto', cpu, 1000) == 'torch'
        assert resolve_backend('auto', cpu, 1000) == 'torch'
    assert len(said) == 1
    monkeypatch.setattr('importlib.util.find_spec', lambda name: object())
    assert resolve_backend('auto', cpu, 1000) == 'superkmeans'
    with pytest.raises(ValueError, match='on a CPU device'):
        resolve_backend('superkmeans', torch.device('cuda'))


def test_unknown_backend_and_wrong_shapes():
    x, c = points(4, 3), points(2, 3)
    with pytest.raises(ValueError, match="got 'annoy'"):
        nearest(x, c, backend='annoy')
    with pytest.raises(ValueError, match=r'\(4, 3\) and \(2, 5\)'):
        nearest(x, points(2, 5))
    with pytest.raises(ValueError, match='K >= 1'):
        nearest(x, c[:0])


def test_a_backend_that_is_not_installed_names_the_remedy(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "ahpcl\[faiss\]"'):
        resolve_backend('faiss', torch.device('cpu'))
    with pytest.raises(ImportError, match=r'pip install "ahpcl\[gpu\]"'):
        resolve_backend('flash', torch.device('cuda'))
    reasons = available_backends()
    assert reasons['torch'] is None
    assert 'not installed' in reasons['faiss']


def test_flash_on_the_cpu_is_refused(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: object())
    with pytest.raises(ValueError, match='CUDA device'):
        resolve_backend('flash', torch.device('cpu'))


def test_available_backends_names_all_and_imports_none():
    before = set(sys.modules)
    assert set(available_backends()) == set(BACKENDS)
    assert not {'flash_kmeans'} & (set(sys.modules) - before)


@given(st.lists(st.integers(0, 4), max_size=30))
def test_rank_in_segment_counts_earlier_ones(segment):
    ranks = rank_in_segment(torch.tensor(segment, dtype=torch.long), 5)
    assert ranks.tolist() == [
        segment[:i].count(s) for i, s in enumerate(segment)
    ]


def test_segment_sum_is_exact_over_chunks():
    values = torch.full((200_000, 1), 0.1)
    index = torch.zeros(200_000, dtype=torch.long)
    total = segment_sum(values, index, 2)
    assert total[1].item() == 0
    # One float32 accumulator would be off by 6e-4.
    assert total[0].item() == pytest.approx(20_000, rel=4e-5)
    vector = segment_sum(values[:, 0], index, 1)
    assert vector.item() == pytest.approx(200_000 * float(values[0]), rel=1e-9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
@pytest.mark.parametrize('backend', ['torch', 'faiss', 'flash'])
def test_backends_on_cuda(backend):
    if available_backends()[backend] is not None:
        pytest.skip(available_backends()[backend])
    x, c = points(5000, 128, 1), points(300, 128, 2)
    found = nearest(x.cuda(), c.cuda(), backend=backend)
    assert found.is_cuda
    agree = (found.cpu() == nearest(x, c)).float().mean().item()
    assert agree > (0.99 if backend == 'flash' else 0.9999)
