"""Nearest-centroid search with interchangeable backends.

`torch` needs nothing and runs on any device; `superkmeans`, `faiss` and
`flash` are imported only when they are used. The k-means of this package
knows one thing of this file, `NearestSearch`.
"""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from ahpcl.core.clustering.search_engines import LIBRARIES, torch_nearest

__all__ = [
    'BACKENDS',
    'PRECISIONS',
    'NearestSearch',
    'available_backends',
    'nearest',
    'resolve_backend',
]

BACKENDS = ('torch', 'superkmeans', 'faiss', 'flash')
PRECISIONS = ('auto', 'float32', 'float16', 'bfloat16')

_INSTALL = {
    'superkmeans': 'pip install "ahpcl[fast]"',
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
    """
    if backend == 'auto':
        if device.type != 'cpu' or (num_clusters or _FEW) < _FEW:
            return 'torch'
        found = importlib.util.find_spec(_MODULE['superkmeans'])
        return 'torch' if found is None else 'superkmeans'
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


@dataclass(frozen=True)
class NearestSearch:
    """Finds the nearest centroid of every point; settings, no state.

    Attributes:
        backend: `'auto'` or one of `BACKENDS`.
        precision: Of the products of the `torch` backend, one of
            `PRECISIONS`. `'auto'` is float16 for unit rows on CUDA
            (bfloat16's speed with three bits more, and no range to run out
            of), else float32: on CPUs without matrix instructions bfloat16
            was half as fast. What needs the exact nearest asks for it.
        chunk_mib: Memory for the block of scores that is computed at once,
            in MiB; None for what fits the caches of a CPU, and 256 on other
            devices. With many clusters the block is over a part of them.

    Raises:
        ValueError: For an unknown precision, or a chunk below 1 MiB.
    """

    backend: str = 'auto'
    precision: str = 'auto'
    chunk_mib: float | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f'expected precision to be one of {PRECISIONS}, got '
                f'{self.precision!r}'
            )
        if self.chunk_mib is not None and not self.chunk_mib >= 1:
            raise ValueError(
                f'expected chunk_mib of at least 1 (MiB), or None, got '
                f'{self.chunk_mib}'
            )

    def is_exact(self, device: torch.device, num_clusters: int) -> bool:
        """Whether `find` is `exact` there, by backend and precision."""
        name = resolve_backend(self.backend, device, num_clusters)
        return name == 'torch' and self.dtype(device, True) == torch.float32

    def dtype(self, device: torch.device, unit: bool) -> torch.dtype:
        """Of the products.

        Args:
            device: Of the features.
            unit: Whether all rows have length 1.
        """
        if self.precision != 'auto':
            found: torch.dtype = getattr(torch, self.precision)
            return found
        if device.type == 'cuda' and unit:
            return torch.float16
        return torch.float32

    def find(
        self, features: Tensor, centroids: Tensor, *, unit: bool = False
    ) -> Tensor:
        """Index of the nearest centroid, up to the backend's rounding.

        A library that fails in mid-run (removed, out of its own resources)
        is replaced by `torch`, with a warning.

        Args:
            features: Points, (N, D) float32.
            centroids: Centroids, (K, D) float32, on the same device.
            unit: Whether all rows have length 1.

        Returns:
            Indices in [0, K), (N,) int64, on the device of the features.
        """
        name = resolve_backend(self.backend, features.device, len(centroids))
        if name == 'torch':
            dtype = self.dtype(features.device, unit)
            return torch_nearest(features, centroids, self.chunk_mib, dtype)
        try:
            return LIBRARIES[name](features, centroids)
        except (ImportError, OSError, RuntimeError) as error:
            warnings.warn(
                f'backend={name!r} failed ({error}): this search is done by '
                f'backend="torch", whose answer is the same up to rounding',
                stacklevel=2,
            )
            return self.exact(features, centroids)

    def exact(self, features: Tensor, centroids: Tensor) -> Tensor:
        """The same by torch in float32."""
        return torch_nearest(
            features, centroids, self.chunk_mib, torch.float32
        )


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
    search = NearestSearch(backend, precision='float32')
    return search.find(features.detach().float(), centroids.detach().float())
