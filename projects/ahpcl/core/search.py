"""Nearest-centroid search with interchangeable backends.

`torch` needs nothing and runs on any device; `faiss` and `flash` are imported
only when asked for. The k-means of this package knows one function of this
file, `nearest`.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ahpcl.core.contrast import full_precision

__all__ = [
    'BACKENDS',
    'available_backends',
    'nearest',
    'resolve_backend',
    'rows_per_chunk',
]

BACKENDS = ('torch', 'faiss', 'flash')

_INSTALL = {
    'faiss': 'pip install "ahpcl[faiss]"',
    'flash': 'pip install "ahpcl[gpu]"',
}
_MODULE = {'faiss': 'faiss', 'flash': 'flash_kmeans'}


def available_backends() -> dict[str, str | None]:
    """Which backends are usable on this machine.

    Nothing is imported, so that the answer is quick.

    Returns:
        For every backend None where it is usable, else the reason why not,
        with the way out.
    """
    reasons: dict[str, str | None] = {'torch': None}
    for name, module in _MODULE.items():
        missing = importlib.util.find_spec(module) is None
        reasons[name] = (
            f'{module} is not installed; {_INSTALL[name]}' if missing else None
        )
    if reasons['flash'] is None and not torch.cuda.is_available():
        reasons['flash'] = 'it needs a CUDA device, and there is none'
    return reasons


def resolve_backend(backend: str, device: torch.device) -> str:
    """The backend to use, checked before any work is done.

    `auto` is `torch` everywhere. On two CPU cores, D = 128, one search of
    38,400 points took torch 2.5, 38 and 290 ms at K = 10, 400 and 3200, and
    faiss 1.15 (flat index) 8, 120 and 620 ms; on one core torch won by 1.5
    to 2.3 times as well. On CUDA neither was measured; torch is chosen
    there because it needs no second CUDA library.

    Args:
        backend: `'auto'`, or one of `BACKENDS`.
        device: Where the features are.

    Returns:
        One of `BACKENDS`.

    Raises:
        ValueError: If the name is unknown, or `flash` is asked for features
            that are not on CUDA.
        ImportError: If the backend's library is not installed.
    """
    if backend == 'auto':
        return 'torch'
    if backend not in BACKENDS:
        raise ValueError(
            f'expected backend to be auto or one of {BACKENDS}, '
            f'got {backend!r}'
        )
    if backend == 'torch':
        return backend
    if importlib.util.find_spec(_MODULE[backend]) is None:
        raise ImportError(
            f'backend={backend!r} needs the module {_MODULE[backend]}, which '
            f'is not installed: {_INSTALL[backend]}, or use backend="torch"'
        )
    if backend == 'flash' and device.type != 'cuda':
        raise ValueError(
            f'expected features on a CUDA device for backend="flash", got '
            f'{device}; use backend="auto"'
        )
    return backend


def nearest(
    features: Tensor, centroids: Tensor, *, backend: str = 'auto'
) -> Tensor:
    """Index of the nearest centroid (Euclidean) of every point.

    For unit centroids this is the one of the largest cosine. Computed in
    float32, under autocast too. Points as near to two centroids up to
    rounding may get either; the same call gives the same answer again.

    Args:
        features: Points, (N, D) floating point.
        centroids: Centroids, (K, D), on the same device.
        backend: `'auto'`, `'torch'`, `'faiss'` or `'flash'`.

    Returns:
        Indices in [0, K), (N,) int64, on the device of the features.

    Raises:
        ValueError: If shapes do not fit or the backend is unknown.
        ImportError: If the backend's library is not installed.
    """
    if (
        features.ndim != 2
        or centroids.ndim != 2
        or features.shape[1] != centroids.shape[1]
        or len(centroids) == 0
    ):
        raise ValueError(
            f'expected features (N, D) and centroids (K, D) with K >= 1, got '
            f'{tuple(features.shape)} and {tuple(centroids.shape)}'
        )
    name = resolve_backend(backend, features.device)
    return _SEARCH[name](features.detach().float(), centroids.detach().float())


def rows_per_chunk(num_columns: int, device: torch.device) -> int:
    """How many rows of a score matrix are computed at once.

    About 4 MiB of float32 on a CPU (which fits its caches) and 256 MiB on
    other devices, but never fewer than 256 rows.
    """
    budget = 2**20 if device.type == 'cpu' else 2**26
    return max(256, budget // max(1, num_columns))


def _torch_nearest(features: Tensor, centroids: Tensor) -> Tensor:
    """`argmin |x - c|^2 = argmax x.c - |c|^2 / 2`, chunk by chunk."""
    result = torch.empty(
        len(features), dtype=torch.long, device=features.device
    )
    rows = rows_per_chunk(len(centroids), features.device)
    with full_precision(features.device), torch.no_grad():
        bias = centroids.square().sum(dim=1).mul_(-0.5)
        columns = centroids.t().contiguous()
        for start in range(0, len(features), rows):
            scores = torch.addmm(bias, features[start : start + rows], columns)
            torch.argmax(scores, dim=1, out=result[start : start + rows])
    return result


def _faiss_nearest(features: Tensor, centroids: Tensor) -> Tensor:
    """A flat index: exact. On a GPU only where faiss was built for one."""
    import faiss

    index: Any = faiss.IndexFlatL2(features.shape[1])
    if features.is_cuda:
        if hasattr(faiss, 'StandardGpuResources'):
            device = features.device.index or 0
            resources = faiss.StandardGpuResources()
            index = faiss.index_cpu_to_gpu(resources, device, index)
        else:
            warnings.warn(
                'the installed faiss knows no GPU: features are copied to '
                'the CPU for every search; backend="torch" keeps them on '
                'the device',
                stacklevel=3,
            )
    index.add(centroids.cpu().contiguous().numpy())
    _, found = index.search(features.cpu().contiguous().numpy(), 1)
    return torch.from_numpy(found[:, 0]).to(features.device)


def _flash_nearest(features: Tensor, centroids: Tensor) -> Tensor:
    """The Triton kernel of flash-kmeans (0.3), CUDA only.

    Its dot products are TF32, so near ties may differ from the exact ones;
    the k-means of this package ends with an exact assignment for that
    reason. Written from the library's source: **it has not been run on a
    GPU yet**.
    """
    from flash_kmeans.assign_euclid_triton import (
        euclid_assign_triton,
    )

    points = features.contiguous()[None]
    squares = points.square().sum(dim=2)
    found: Tensor = euclid_assign_triton(
        points, centroids.contiguous()[None], squares
    )
    return found[0].to(torch.long)


_SEARCH: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'torch': _torch_nearest,
    'faiss': _faiss_nearest,
    'flash': _flash_nearest,
}
