"""Nearest-centroid search with interchangeable backends.

`torch` needs nothing and runs on any device; `superkmeans`, `faiss` and
`flash` are imported only when they are used. The k-means of this package
calls `find_nearest` in its iterations, and `exact_nearest` at the end.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings

import torch
from torch import Tensor

from ahpcl.core.clustering.search_engines import LIBRARIES, torch_nearest
from ahpcl.core.clustering.settings import BACKENDS, KMeansSettings

__all__ = [
    'available_backends',
    'exact_nearest',
    'find_nearest',
    'is_exact',
    'nearest',
    'resolve_backend',
]

_INSTALL = {
    'superkmeans': 'pip install superkmeans',
    'faiss': 'pip install "ahpcl[faiss]"',
    'flash': 'pip install "ahpcl[gpu]"',
}
_MODULE = {
    'superkmeans': 'superkmeans',
    'faiss': 'faiss',
    'flash': 'flash_kmeans',
}
_DEVICE = {'superkmeans': 'cpu', 'flash': 'cuda'}
# Below so many centroids torch is as quick.
_FEW = 64


def available_backends() -> dict[str, str | None]:
    """Which backends are usable on this machine.

    Nothing is imported, so that the answer is quick.

    Returns:
        For every backend None where it is usable, else the reason why not,
        with the remedy.

    Examples:
        >>> available_backends()['torch'] is None
        True
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


def resolve_backend(
    backend: str, device: torch.device, num_clusters: int | None = None
) -> str:
    """The backend to use, checked before any work is done.

    `auto` on a CPU is `superkmeans` from 64 centroids on, where it is
    installed, else `torch`. On one core, D = 128, one search of 38,400
    points took superkmeans, torch and faiss (flat index) 0.014, 0.022 and
    0.040 s at K = 100, 0.069, 0.12 and 0.28 s at K = 800, and 0.29, 0.36 and
    1.17 s at K = 3200; at K = 25 and below the first two are level. On other
    devices `auto` is `torch`, which needs no second CUDA library; on CUDA
    nothing was measured.

    Args:
        backend: `'auto'`, or one of `BACKENDS`.
        device: Where the features are.
        num_clusters: K, if it is known.

    Returns:
        One of `BACKENDS`.

    Raises:
        ValueError: If the name is unknown, or the backend does not work on
            the device.
        ImportError: If the backend's library is not installed.

    Examples:
        >>> resolve_backend('auto', torch.device('cpu'), num_clusters=10)
        'torch'
    """
    if backend == 'auto':
        if device.type != 'cpu' or (num_clusters or _FEW) < _FEW:
            return 'torch'
        if importlib.util.find_spec(_MODULE['superkmeans']) is not None:
            return 'superkmeans'
        _mention_superkmeans()
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
    needed = _DEVICE.get(backend, device.type)
    if device.type != needed:
        raise ValueError(
            f'expected features on a {needed.upper()} device for '
            f'backend={backend!r}, got {device}; use backend="auto"'
        )
    return backend


@functools.cache  # once
def _mention_superkmeans() -> None:
    warnings.warn(
        'k-means searches with torch, which takes 1.2 to 1.7 times as long as '
        'superkmeans from 64 clusters on: that is not installed; '
        f'{_INSTALL["superkmeans"]} where there is a wheel for this platform',
        stacklevel=3,
    )


def find_nearest(
    features: Tensor, centroids: Tensor, settings: KMeansSettings
) -> Tensor:
    """Find the nearest centroid of every point, up to the backend's rounding.

    A library that fails in mid-run (removed, out of its own resources) is
    replaced by `torch`, with a warning.

    Args:
        features: Points, (N, D) float32.
        centroids: Centroids, (K, D) float32, on the same device.
        settings: Their backend, precision and memory are used; rows count
            as unit ones if the k-means is spherical.

    Returns:
        Indices in [0, K), (N,) int64, on the device of the features.

    Examples:
        >>> points, centroids = torch.eye(3), torch.eye(3)[[2, 0, 1]]
        >>> find_nearest(points, centroids, KMeansSettings(backend='torch'))
        tensor([1, 2, 0])
    """
    device = features.device
    name = resolve_backend(settings.backend, device, len(centroids))
    if name == 'torch':
        dtype = _product_dtype(settings, device)
        return torch_nearest(features, centroids, settings.chunk_mib, dtype)
    try:
        return LIBRARIES[name](features, centroids)
    except (ImportError, OSError, RuntimeError) as error:
        warnings.warn(
            f'backend={name!r} failed ({error}): this search is done by '
            f'backend="torch", whose answer is the same up to rounding',
            stacklevel=2,
        )
        return exact_nearest(features, centroids, settings)


def exact_nearest(
    features: Tensor, centroids: Tensor, settings: KMeansSettings
) -> Tensor:
    """Find the nearest centroid of every point by torch in float32.

    Args:
        features: As in `find_nearest`.
        centroids: As in `find_nearest`.
        settings: Only `chunk_mib` is used.

    Examples:
        >>> exact_nearest(torch.eye(2), torch.eye(2), KMeansSettings())
        tensor([0, 1])
    """
    return torch_nearest(
        features, centroids, settings.chunk_mib, torch.float32
    )


def is_exact(
    settings: KMeansSettings, device: torch.device, num_clusters: int
) -> bool:
    """Whether `find_nearest` does what `exact_nearest` does.

    Args:
        settings: Settings of the k-means.
        device: Where the features are.
        num_clusters: K.

    Examples:
        >>> is_exact(KMeansSettings(), torch.device('cpu'), 10)
        True
    """
    name = resolve_backend(settings.backend, device, num_clusters)
    dtype = _product_dtype(settings, device)
    return name == 'torch' and dtype == torch.float32


def _product_dtype(
    settings: KMeansSettings, device: torch.device
) -> torch.dtype:
    """Number format of the products of the torch backend."""
    if settings.precision != 'auto':
        found: torch.dtype = getattr(torch, settings.precision)
        return found
    if device.type == 'cuda' and settings.spherical:
        return torch.float16
    return torch.float32


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
        backend: `'auto'` or one of `BACKENDS`.

    Returns:
        Indices in [0, K), (N,) int64, on the device of the features.

    Raises:
        ValueError: If shapes do not fit or the backend is unknown.
        ImportError: If the backend's library is not installed.

    Examples:
        >>> nearest(torch.tensor([[0.9, 0.1]]), torch.eye(2))
        tensor([0])
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
    settings = KMeansSettings(backend=backend, precision='float32')
    return find_nearest(
        features.detach().float(), centroids.detach().float(), settings
    )
