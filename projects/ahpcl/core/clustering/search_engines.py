"""The engines of the nearest-centroid search, which `search` chooses."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ahpcl.core.contrast.batches import full_precision

__all__ = ['LIBRARIES', 'block_shape', 'rows_per_chunk', 'torch_nearest']


def rows_per_chunk(num_columns: int, device: torch.device) -> int:
    """How many rows of a score matrix are computed at once.

    About 4 MiB of float32 on a CPU (which fits its caches) and 256 MiB on
    other devices, but never fewer than 256 rows.

    Examples:
        >>> rows_per_chunk(1024, torch.device('cpu'))
        1024
    """
    budget = 2**20 if device.type == 'cpu' else 2**26
    return max(256, budget // max(1, num_columns))


def block_shape(
    num_clusters: int, device: torch.device, chunk_mib: float | None = None
) -> tuple[int, int]:
    """Rows and columns of a block of scores.

    Args:
        num_clusters: K.
        device: Device of the features.
        chunk_mib: See `KMeansSettings`.

    Returns:
        Points and centroids of a block: their product in float32 fits.

    Examples:
        >>> block_shape(100, torch.device('cpu'), chunk_mib=1)
        (2621, 100)
    """
    if chunk_mib is None and device.type == 'cpu' and num_clusters > 1024:
        return 512, 512
    mib = chunk_mib or (4 if device.type == 'cpu' else 256)
    budget = int(mib * 2**18)
    columns = min(num_clusters, budget // 256)
    return budget // columns, columns


def torch_nearest(
    features: Tensor,
    centroids: Tensor,
    chunk_mib: float | None,
    dtype: torch.dtype,
) -> Tensor:
    """Nearest centroid of every point, block by block.

    `argmin |x - c|^2 = argmax x.c - |c|^2 / 2`.

    Args:
        features: (N, D) float32.
        centroids: (K, D) float32.
        chunk_mib: See `block_shape`.
        dtype: Type of the products and scores.

    Returns:
        (N,) int64.

    Examples:
        >>> torch_nearest(torch.eye(2), torch.eye(2), None, torch.float32)
        tensor([0, 1])
    """
    device, num_clusters = features.device, len(centroids)
    result = torch.empty(len(features), dtype=torch.long, device=device)
    rows, width = block_shape(num_clusters, device, chunk_mib)
    with full_precision(device), torch.no_grad():
        bias = centroids.square().sum(dim=1).mul_(-0.5)
        if dtype != torch.float32:
            bias -= bias.mean()  # what is left is small, and rounds little
        bias = bias.to(dtype)
        columns = centroids.to(dtype).t().contiguous()
        for start in range(0, len(features), rows):
            part = features[start : start + rows].to(dtype)
            found = result[start : start + rows]
            if width >= num_clusters:
                scores = torch.addmm(bias, part, columns)
                torch.argmax(scores, dim=1, out=found)
                continue
            best = torch.full_like(part[:, 0], -torch.inf)
            for first in range(0, num_clusters, width):
                block = slice(first, first + width)
                scores = torch.addmm(bias[block], part, columns[:, block])
                score, place = scores.max(dim=1)
                better = score > best
                best = torch.where(better, score, best)
                found.copy_(torch.where(better, place + first, found))
    return result


def _superkmeans_nearest(features: Tensor, centroids: Tensor) -> Tensor:
    """Exact float32 search in tiles that never leave the cache."""
    import superkmeans

    engine: Any = superkmeans.SuperKMeans(
        len(centroids),
        centroids.shape[1],
        n_threads=torch.get_num_threads(),
    )
    found = engine.assign(
        features.contiguous().numpy(), centroids.contiguous().numpy()
    )
    return torch.from_numpy(found.astype('int64'))


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
                stacklevel=4,
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


LIBRARIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'superkmeans': _superkmeans_nearest,
    'faiss': _faiss_nearest,
    'flash': _flash_nearest,
}
