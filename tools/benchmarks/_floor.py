"""What a device can do at best: rates of matmul and copy, and a bound."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

# Sides of the matrices and bytes of the copy: far beyond a cache.
_GPU_SIDE = 8192
_CPU_SIDE = 2048
_COPY_BYTES = 2**28


def matmul_rate(
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    *,
    side: int | None = None,
    seconds: float = 0.5,
) -> float:
    """The rate of a large square matrix product.

    Args:
        device: Where to multiply, with as many threads as torch has now.
        dtype: Of the matrices; float32 in the precision that is set now.
        side: Of the matrices; None for one that fills the device.
        seconds: About how long to measure.

    Returns:
        Floating-point operations per second, two for every multiply-add, of
        the fastest product seen.
    """
    device = torch.device(device)
    side = side or (_CPU_SIDE if device.type == 'cpu' else _GPU_SIDE)
    left = torch.randn(side, side, device=device).to(dtype)
    right = torch.randn(side, side, device=device).to(dtype)
    out = torch.empty(side, side, device=device, dtype=dtype)
    best = _fastest(
        lambda: torch.mm(left, right, out=out), device, seconds=seconds
    )
    return 2.0 * side**3 / best


def copy_rate(
    device: torch.device | str,
    *,
    size: int = _COPY_BYTES,
    seconds: float = 0.5,
) -> float:
    """The rate at which memory is read and written by a copy.

    Args:
        device: Whose memory.
        size: Bytes of the source, beyond any cache.
        seconds: About how long to measure.

    Returns:
        Bytes per second, those read and those written together, of the
        fastest copy seen.
    """
    device = torch.device(device)
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    best = _fastest(lambda: target.copy_(source), device, seconds=seconds)
    return 2.0 * source.nbytes / best


def floor_seconds(
    operations: float, moved: float, *, matmul: float, copy: float
) -> float:
    """The least time that work can take: the larger of its two bounds.

    Args:
        operations: Floating-point operations.
        moved: Bytes read and written.
        matmul: As from `matmul_rate`.
        copy: As from `copy_rate`.
    """
    return max(operations / matmul, moved / copy)


def synchronise(device: torch.device | str) -> None:
    """Wait for what a device was given to do; nothing on a CPU."""
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)


def _fastest(
    work: Callable[[], object], device: torch.device, *, seconds: float
) -> float:
    """Seconds of the fastest of several calls, after two that warm up."""
    for _ in range(2):
        work()
    synchronise(device)
    best, end = float('inf'), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        work()
        synchronise(device)
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best
