"""Finds unreadable image files before training, not hours into it."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from ahpcl.utils.progress import watched

from .decode import explain
from .raw_pixels import FileKind, inspect

ScanMode = Literal['auto', 'full', 'header', 'off']
SCAN_MODES = ('auto', 'full', 'header', 'off')
FULL_SCAN_LIMIT = 50_000  # images; above it 'auto' reads headers only
_SAMPLE = 256  # images whose heads are read where nothing is checked


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
class Finding:
    """What was found in a file.

    Attributes:
        full: Whether it was decoded.
        reason: Why it cannot be used; None for an image.
        kind: What its head says; None where it is no image.
        span: Least and largest value of more than 8 bits, where it was
            decoded and has such.
    """

    full: bool
    reason: str | None
    kind: FileKind | None = None
    span: tuple[float, float] | None = None


# Train, extraction and validation loaders index the same files: each is
# opened once per process. Keys are hashes of (path, bytes, modification time
# in ns, pixels that are admitted) and equal findings are one object: 1.3
# million files take some 150 MB.
_memory: dict[int, Finding] = {}
_findings: dict[Finding, Finding] = {}


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
    return scan_files(paths, mode, min_size, num_threads)[0]


def scan_files(
    paths: Sequence[str],
    mode: ScanMode = 'auto',
    min_size: int = 2,
    num_threads: int | None = None,
) -> tuple[list[Problem], list[Finding | None]]:
    """Check files as :func:`scan_images` does, and say what they are.

    Args:
        paths: Image files.
        mode: See :func:`scan_images`.
        min_size: Least width and height, in px.
        num_threads: See :func:`scan_images`.

    Returns:
        The files that cannot be used; and what was found in every file, None
        for those that are missing and, where nothing is checked, for all but
        some whose heads are read.

    Raises:
        ValueError: see :func:`scan_images`.
    """
    if mode not in SCAN_MODES:
        raise ValueError(
            f'expected scan to be one of {", ".join(SCAN_MODES)}, got {mode!r}'
        )
    if min_size < 1:
        raise ValueError(f'expected min_size of at least 1, got {min_size}')
    if mode == 'auto':
        mode = 'full' if len(paths) <= FULL_SCAN_LIMIT else 'header'
    full = mode == 'full'
    findings: list[Finding | None] = [None] * len(paths)
    places: Sequence[int] = range(len(paths))
    if mode == 'off':
        places = spread(len(paths), _SAMPLE)

    def check(place: int) -> Finding | None:
        return _find(paths[place], full)

    problems = []
    with ThreadPoolExecutor(num_threads or min(16, usable_cores())) as pool:
        found = pool.map(check, places, chunksize=64)
        if mode != 'off':
            found = watched(found, 'Checking images', len(paths))
        for place, finding in zip(places, found, strict=True):
            findings[place] = finding
            problem = _problem(finding, paths[place], min_size)
            if problem is not None and mode != 'off':
                kind, reason = problem
                problems.append(Problem(place, paths[place], reason, kind))
    return problems, findings


def spread(total: int, most: int) -> list[int]:
    """Return at most so many places of a list, evenly spread."""
    count = min(total, most)
    return [place * total // count for place in range(count)]


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


def _find(path: str, full: bool) -> Finding | None:
    """Return what is known of a file, which is opened once; None if gone."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    limit = Image.MAX_IMAGE_PIXELS
    key = hash((path, status.st_size, status.st_mtime_ns, limit))
    finding = _memory.get(key)
    if finding is None or (full and not finding.full):
        finding = _open(path, full)
        _memory[key] = finding = _findings.setdefault(finding, finding)
    return finding


def _problem(
    finding: Finding | None, path: str, min_size: int
) -> tuple[str, str] | None:
    """Say what kind of problem a file is, and why; None for an image."""
    if finding is None:
        try:
            os.stat(path)
        except OSError as error:
            return 'missing', explain(error, path)
        return 'missing', 'it came back while it was looked for'
    if finding.kind is None:
        return 'unreadable', str(finding.reason)
    width, height = finding.kind.size
    if min(width, height) < min_size:
        return (
            'too small',
            f'{width} x {height} px, less than {min_size} px a side',
        )
    return None


def _open(path: str, full: bool) -> Finding:
    try:
        with open(path, 'rb') as file:
            kind, values = inspect(file, full)
            span = None
            if values is not None:
                span = float(values.min()), float(values.max())
            return Finding(full, None, kind, span)
    except Exception as error:  # Pillow's readers raise many kinds
        return Finding(full, explain(error, path))


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
