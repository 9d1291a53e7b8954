"""Finds unreadable image files before training, not hours into it."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from ahpcl.utils.progress import watched

from .decode import explain, to_rgb

ScanMode = Literal['auto', 'full', 'header', 'off']
SCAN_MODES = ('auto', 'full', 'header', 'off')
FULL_SCAN_LIMIT = 50_000  # images; above it 'auto' reads headers only

# Decoding these tells nothing about their conversion, which may still refuse.
_RARE_MODES = ('I', 'F')


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used.

    Attributes:
        index: Its place in the scanned list.
        path: Its path as given.
        reason: Why, in a few words.
        kind: One of 'missing', 'unreadable', 'too small'.
    """

    index: int
    path: str
    reason: str
    kind: str


@dataclass(frozen=True)
class _Finding:
    full: bool
    reason: str | None
    size: tuple[int, int]  # width, height in px; (0, 0) where unknown


# Train, extraction and validation loaders index the same files: each is
# opened once per process. Keys are hashes of (path, bytes, modification time
# in ns, pixels that are admitted) and equal findings are one object: 1.3
# million files take some 150 MB.
_memory: dict[int, _Finding] = {}
_findings: dict[_Finding, _Finding] = {}


def scan_images(
    paths: Sequence[str],
    mode: ScanMode = 'auto',
    min_size: int = 2,
    num_threads: int | None = None,
) -> list[Problem]:
    """Check that every file is an image that can be used.

    Args:
        paths: Image files.
        mode: 'full' decodes every file; 'header' only opens it, which finds
            missing, empty and foreign files but no truncated ones; 'auto' is
            'full' up to 50,000 files and 'header' above; 'off' checks nothing.
        min_size: Least width and height, in px.
        num_threads: Threads, by default one per usable core up to 16.

    Returns:
        The files that cannot be used, in the given order.

    Raises:
        ValueError: if ``mode`` is unknown or ``min_size`` is below 1.
    """
    if mode not in SCAN_MODES:
        raise ValueError(
            f'expected scan to be one of {", ".join(SCAN_MODES)}, got {mode!r}'
        )
    if min_size < 1:
        raise ValueError(f'expected min_size of at least 1, got {min_size}')
    if mode == 'off' or not paths:
        return []
    if mode == 'auto':
        mode = 'full' if len(paths) <= FULL_SCAN_LIMIT else 'header'
    full = mode == 'full'
    threads = num_threads or min(16, usable_cores())

    def check(path: str) -> tuple[str, str] | None:
        return _check(path, full, min_size)

    problems = []
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(check, paths, chunksize=64)
        for index, result in enumerate(
            watched(found, 'Checking images', len(paths))
        ):
            if result is not None:
                kind, reason = result
                problems.append(Problem(index, paths[index], reason, kind))
    return problems


def describe(problems: Sequence[Problem], total: int, first: int = 10) -> str:
    """Write problems as lines for a message.

    Args:
        problems: What :func:`scan_images` returned; at least one.
        total: Number of files scanned.
        first: How many files to name.

    Returns:
        A summary line with the counts, then the first files and reasons.
    """
    kinds = [problem.kind for problem in problems]
    counts = ', '.join(
        f'{kinds.count(kind)} {kind}'
        for kind in ('missing', 'unreadable', 'too small')
        if kind in kinds
    )
    lines = [f'{len(problems)} of {total} images ({counts}):']
    lines += [f'  {p.path}: {p.reason}' for p in problems[:first]]
    if len(problems) > first:
        lines.append(f'  ... and {len(problems) - first} more')
    return '\n'.join(lines)


def _check(path: str, full: bool, min_size: int) -> tuple[str, str] | None:
    try:
        status = os.stat(path)
    except OSError as error:
        return 'missing', explain(error, path)
    limit = Image.MAX_IMAGE_PIXELS
    key = hash((path, status.st_size, status.st_mtime_ns, limit))
    finding = _memory.get(key)
    if finding is None or (full and not finding.full):
        finding = _open(path, full)
        _memory[key] = finding = _findings.setdefault(finding, finding)
    if finding.reason is not None:
        return 'unreadable', finding.reason
    width, height = finding.size
    if min(width, height) < min_size:
        return (
            'too small',
            f'{width} x {height} px, less than {min_size} px a side',
        )
    return None


def _open(path: str, full: bool) -> _Finding:
    try:
        with Image.open(path) as image:
            if full:
                image.load()
                if image.mode in _RARE_MODES:
                    to_rgb(image)
            return _Finding(full, None, image.size)
    except Exception as error:  # Pillow's readers raise many kinds
        return _Finding(full, explain(error, path), (0, 0))


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
