"""Features to cluster, the published recipe, and what a clustering costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from _floor import synchronise
from torch import Tensor

from ahpcl.core.clustering.rows import segment_sum

# Li et al., ICLR 2021, as published: 20 iterations, best of 5 random starts.
PCL_ITERATIONS = 20
PCL_RESTARTS = 5
_PAGE = 4096


class Cost(NamedTuple):
    """What some work took.

    Args:
        seconds: Wall time.
        extra_mib: Most memory above that at the start, in MiB.
        cpu_seconds: Of this process, over all its threads: what is left of
            the wall time on a machine that others use.
    """

    seconds: float
    extra_mib: float
    cpu_seconds: float


def drifting_features(
    num_points: int,
    dims: int,
    epochs: int,
    *,
    groups: int,
    seed: int = 0,
    device: torch.device | str = 'cpu',
) -> list[Tensor]:
    """Unit rows of overlapping groups that move a little every epoch.

    Args:
        num_points: N.
        dims: D.
        epochs: How many sets.
        groups: Of the mixture.
        seed: Seed of all draws.
        device: Where they are drawn; every kind of device draws others.

    Returns:
        For every epoch (N, D) float32.
    """
    given: dict[str, Any] = dict(
        generator=torch.Generator(device).manual_seed(seed), device=device
    )
    centres = torch.randn(groups, dims, **given)
    which = torch.randint(groups, (num_points,), **given)
    own = torch.randn(num_points, dims, **given)
    found = []
    for _ in range(epochs):
        step = torch.randn(num_points, dims, **given)
        found.append(F.normalize(centres[which] + own + 0.2 * step, dim=1))
    return found


def read_features(path: str | Path) -> list[Tensor]:
    """Features of consecutive epochs, as `epoch_features.py` writes them.

    Raises:
        ValueError: If the file holds something else.
    """
    found = torch.load(path, weights_only=True)
    if not isinstance(found, dict) or 'epochs' not in found:
        raise ValueError(
            f'expected a file of tools/benchmarks/epoch_features.py, got '
            f'{path}'
        )
    return [F.normalize(rows.float(), dim=1) for rows in found['epochs']]


def pcl_recipe(features: Tensor, num_clusters: int, seed: int) -> Tensor:
    """PCL's clustering as published.

    On a CPU by faiss. On other devices the same steps by torch: float32
    brute force, random points to begin with.

    Args:
        features: (N, D) float32.
        num_clusters: K.
        seed: Seed of the random starts.

    Returns:
        Cluster of every point, (N,) int64.
    """
    if features.device.type != 'cpu':
        return _brute_force(features, num_clusters, seed)
    import faiss

    rows: Any = features.numpy()
    clustering = faiss.Clustering(features.shape[1], num_clusters)
    clustering.niter = PCL_ITERATIONS
    clustering.nredo = PCL_RESTARTS
    clustering.seed = seed
    clustering.max_points_per_centroid = 1000
    clustering.min_points_per_centroid = 10
    index = faiss.IndexFlatL2(features.shape[1])
    clustering.train(rows, index)
    return torch.from_numpy(index.search(rows, 1)[1][:, 0])


def _brute_force(features: Tensor, num_clusters: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    best = features.new_full((), torch.inf)
    found = features.new_zeros(0, dtype=torch.long)
    for _ in range(PCL_RESTARTS):
        start = torch.randperm(len(features), generator=generator)
        centroids = features[start[:num_clusters].to(features.device)]
        for _ in range(PCL_ITERATIONS):
            centroids = brute_force_iteration(features, centroids)
        assignments = brute_force_search(features, centroids)
        cost = (features - centroids[assignments]).square().sum()
        if cost < best:
            best, found = cost, assignments
    return found


def brute_force_iteration(features: Tensor, centroids: Tensor) -> Tensor:
    """The centroids (K, D) after a plain iteration of k-means."""
    assignments = brute_force_search(features, centroids)
    total = torch.zeros_like(centroids)
    total.index_add_(0, assignments, features)
    counts = torch.bincount(assignments, minlength=len(centroids))
    return torch.where(
        counts[:, None] > 0, total / counts.clamp(min=1)[:, None], centroids
    )


def brute_force_search(features: Tensor, centroids: Tensor) -> Tensor:
    """The nearest centroid of every point, (N,), in plain float32.

    Args:
        features: (N, D) float32.
        centroids: (K, D) float32.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    bias = centroids.square().sum(dim=1)
    parts = [
        torch.addmm(bias, part, centroids.t(), alpha=-2).argmin(dim=1)
        for part in features.split(max(1, 2**27 // len(centroids)))
    ]
    return torch.cat(parts)


def partition_objective(
    features: Tensor, assignments: Tensor, num_clusters: int
) -> float:
    """Mean squared distance of the points to the mean of their cluster.

    A number of the partition alone, whatever centroids made it, so that
    spherical and plain k-means compare.

    Args:
        features: (N, D) float32.
        assignments: (N,) int64.
        num_clusters: K.
    """
    counts = torch.bincount(assignments, minlength=num_clusters)
    total = segment_sum(features, assignments, num_clusters)
    between = (total.square().sum(dim=1) / counts.clamp(min=1)).sum()
    squares = features.double().square().sum()
    return float((squares - between) / len(features))


def measured(
    work: Callable[[], Any], device: torch.device
) -> tuple[Any, Cost]:
    """What some work gives, and what it took."""
    synchronise(device)
    with _peak(device) as extra:
        start, cpu = time.perf_counter(), time.process_time()
        found = work()
        synchronise(device)
        seconds = time.perf_counter() - start
        cpu = time.process_time() - cpu
    return found, Cost(seconds, extra[0], cpu)


@contextmanager
def _peak(device: torch.device) -> Iterator[list[float]]:
    """Most memory above that at the start, in MiB, when it is over.

    On a CPU the process's resident memory, looked at every 2 ms.
    """
    extra = [0.0]
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield extra
        most = torch.cuda.max_memory_allocated(device)
        extra[0] = (most - before) / 2**20
        return
    statm = Path('/proc/self/statm')
    if not statm.is_file():
        yield extra
        extra[0] = float('nan')
        return

    def resident() -> float:
        return int(statm.read_text().split()[1]) * _PAGE / 2**20

    before, done = resident(), threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            extra[0] = max(extra[0], resident() - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield extra
    finally:
        done.set()
        watcher.join()


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Of the line through logarithms: time grows as size ** slope."""
    x = torch.tensor(sizes, dtype=torch.float64).log()
    y = torch.tensor(seconds, dtype=torch.float64).log()
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / x.square().sum())
