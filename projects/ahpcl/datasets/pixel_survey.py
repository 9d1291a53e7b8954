"""Looks at a data set once: which bands its images have, which values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from .decode import read_image, unreadable
from .pixel_format import (
    BY_TYPE,
    DTYPE_RANGES,
    Pages,
    PixelFormat,
    scaled_by_type,
)
from .raw_pixels import FileKind, RawPixels, read_raw
from .scan import Finding, Problem, spread

Channels = int | Literal['auto']
Range = str | Sequence[float] | Mapping[str, Any]
# By default outliers, such as hot pixels, decide nothing.
AUTO_PERCENTILES = (0.1, 99.9)
_IMAGES = 64  # of every type, whose pixels are looked at
_PIXELS = 2**16  # of each of them, evenly spread


def resolve(
    paths: Sequence[str],
    findings: Sequence[Finding | None],
    *,
    channels: Channels = 'auto',
    range: Range = 'auto',
    pages: Pages = 'first',
) -> tuple[PixelFormat, list[str]]:
    """Decide once how the images of a data set become 8-bit pixels.

    The same files and options give the same numbers, on every rank.

    Args:
        paths: The files.
        findings: What the scan found in them.
        channels: Bands of every image; ``'auto'`` has three for gray and
            colour, and as many as the files have where all have as many
            others.
        range: What becomes 0 and 255: ``'auto'``, ``'dtype'``, ``(low,
            high)``, ``dict(percentiles=(low, high))``, or one of the pairs
            for every type, ``dict(uint16=(low, high))``.
        pages: See :class:`PixelFormat`.

    Returns:
        The numbers, and lines that say what was found and taken.

    Raises:
        ValueError: if an option has another value, or does not fit the files.
    """
    if pages not in get_args(Pages):
        raise ValueError(f"expected pages='first' or 'bands', got {pages!r}")
    kinds = [f.kind for f in findings if f is not None and f.kind is not None]
    found, lines = _channels(kinds, channels, pages)
    ranges, said = _ranges(paths, findings, range, found, pages)
    return PixelFormat.of(found, ranges, pages), [*lines, *said]


def extend(
    pixels: PixelFormat,
    paths: Sequence[str],
    findings: Sequence[Finding | None],
) -> tuple[PixelFormat, list[str]]:
    """Read images by a format that was made for others.

    Args:
        pixels: The format, such as that of a run.
        paths: The files.
        findings: What the scan found in them.

    Returns:
        The format, with a range by these files for every type of more than 8
        bits that it has none for; and lines that say so, and how many have
        more bands than are taken.
    """
    known = pixels.as_dict()
    ranges, lines = _ranges(
        paths, findings, known['range'], pixels.channels, pixels.pages
    )
    kinds = [f.kind for f in findings if f is not None and f.kind is not None]
    lines += [
        f'{number} {name} files have several {what}: the first is used'
        for name, number, what in _several(kinds, pixels.pages)
    ]
    most = max(pixels.channels, 3)  # colour may become gray
    bands = [_bands(kind, pixels.pages) for kind in kinds]
    more = [number for number in bands if number > most]
    if more:
        lines.append(
            f'{len(more)} images have more bands, {min(more)} or more: the '
            f'first {pixels.channels} are taken'
        )
    return PixelFormat.of(pixels.channels, ranges, pixels.pages), lines


def misfits(
    pixels: PixelFormat,
    paths: Sequence[str],
    findings: Sequence[Finding | None],
) -> list[Problem]:
    """Return the images that a format cannot convert, as problems."""
    problems = []
    ranges = dict(pixels.ranges)
    for place, finding in enumerate(findings):
        if finding is None or finding.kind is None:
            continue
        kind, reason = finding.kind, None
        bands = _bands(kind, pixels.pages)
        if kind.alpha and pixels.channels == 4:
            bands += 1
        if bands < pixels.channels and (bands, pixels.channels) != (1, 3):
            reason = f'{bands} bands, fewer than channels={pixels.channels}'
        elif finding.span is not None and not ranges.get(kind.dtype):
            try:
                scaled_by_type(np.array(finding.span, kind.dtype))
            except ValueError as error:
                reason = str(error)
        if reason is not None:
            problems.append(Problem(place, paths[place], reason, 'unreadable'))
    return problems


def measure(
    paths: Sequence[str], pixels: PixelFormat, most: int = 256
) -> tuple[list[float], list[float]]:
    """Measure mean and deviation of every band.

    Args:
        paths: The images, of which a sample is read.
        pixels: How they become 8 bits.
        most: Number of images that are read, evenly spread.

    Returns:
        Means and standard deviations in 0 to 255, R, G, B where there are
        three bands; every image counts alike.
    """
    first = np.zeros(pixels.channels)
    second = np.zeros(pixels.channels)
    places = spread(len(paths), most)
    for place in places:
        image = read_image(paths[place], pixels).reshape(-1, pixels.channels)
        values = image.astype(np.float64)
        first += values.mean(axis=0)
        second += (values**2).mean(axis=0)
    mean = first / len(places)
    std = np.sqrt(np.maximum(second / len(places) - mean**2, 1.0))
    return [round(float(v), 3) for v in mean], [
        round(float(v), 3) for v in std
    ]


def _bands(kind: FileKind, pages: Pages) -> int:
    stacked = pages == 'bands' and kind.format == 'TIFF'
    return kind.bands * (kind.pages if stacked else 1)


def _channels(
    kinds: Sequence[FileKind], channels: Channels, pages: Pages
) -> tuple[int, list[str]]:
    counts = Counter(_bands(kind, pages) for kind in kinds)
    lines = []
    alpha = sum(kind.alpha for kind in kinds)
    for name, number, what in _several(kinds, pages):
        text = f'{number} {name} files have several {what}: the first is used'
        if name == 'TIFF':
            text += " (pages='bands' takes all as bands)"
        lines.append(text)
    if channels == 'auto':
        channels = _auto_channels(counts)
    elif isinstance(channels, bool) or not isinstance(channels, int):
        raise ValueError(
            f"expected channels of at least 1, or 'auto', got {channels!r}"
        )
    if alpha and channels != 4:
        lines.append(
            f'{alpha} images have an alpha channel and are laid over the '
            "loader's background, white by default (channels=4 keeps it as a "
            'band)'
        )
    if channels not in (1, 3):
        lines.append(f'images of {channels} bands: {_listed(counts)}')
    if channels == 3 and set(counts) == {1} and kinds:
        lines.append(
            'all images are gray: the value in three channels (channels=1 '
            'has one)'
        )
    more = sum(n for bands, n in counts.items() if bands > channels)
    gray = counts[3] if channels == 1 else 0
    if gray:
        lines.append(f'{gray} colour images become gray (channels=1)')
    if more - gray:
        lines.append(
            f'{more - gray} images have more bands than channels={channels}: '
            f'the first {channels} are taken'
        )
    return channels, lines


def _several(
    kinds: Sequence[FileKind], pages: Pages
) -> list[tuple[str, int, str]]:
    """Return formats whose files have more pages or frames than are read."""
    found = Counter(
        kind.format
        for kind in kinds
        if kind.pages > 1 and (kind.format != 'TIFF' or pages == 'first')
    )
    return [
        (name, number, 'pages' if name == 'TIFF' else 'frames')
        for name, number in found.items()
    ]


def _auto_channels(counts: Counter[int]) -> int:
    if set(counts) <= {1, 3}:
        return 3
    if len(counts) == 1:
        return next(iter(counts))
    wide = [bands for bands in counts if bands != 1]
    common = 3 if min(wide) == 3 else 1 if 1 in counts else min(wide)
    raise ValueError(
        f'expected images of one number of bands, got {_listed(counts)}; set '
        f'channels={common} on the dataset to take the first {common} of '
        'every file, or keep the kinds in folders of their own'
    )


def _listed(counts: Counter[int]) -> str:
    return ', '.join(
        f'{number} of {bands}' for bands, number in sorted(counts.items())
    )


def _ranges(
    paths: Sequence[str],
    findings: Sequence[Finding | None],
    option: Range,
    channels: int,
    pages: Pages,
) -> tuple[dict[str, Any], list[str]]:
    """Return a range for every type that needs one, and what was taken."""
    by_type: dict[str, list[int]] = {}
    for place, finding in enumerate(findings):
        if finding is not None and finding.kind is not None:
            by_type.setdefault(finding.kind.dtype, []).append(place)
    wide = [dtype for dtype in by_type if dtype not in ('uint8', 'bool')]
    ranges: dict[str, Any] = {}
    how = f'range={option!r}'
    if option == BY_TYPE:
        return dict.fromkeys(wide, BY_TYPE), [
            f'{len(by_type[d])} images of {d}: {_pair(DTYPE_RANGES[d])} '
            "become 0 and 255 (range='dtype')"
            for d in wide
        ]
    if option == 'auto':
        measured, percentiles = wide, AUTO_PERCENTILES
    elif isinstance(option, Mapping) and 'percentiles' in option:
        measured, percentiles = list(by_type), _percentiles(option)
    elif isinstance(option, Mapping):
        # What was chosen for some types says nothing about others.
        ranges = dict(option)
        measured = [dtype for dtype in wide if dtype not in ranges]
        percentiles = AUTO_PERCENTILES
        how = f'range has none for it, only for {", ".join(ranges)}'
        if not ranges:
            how = 'range has none for it'
    elif isinstance(option, Sequence) and len(option) == 2:
        if len(by_type) > 1:
            example = ', '.join(f'{d}=(low, high)' for d in by_type)
            raise ValueError(
                f'expected images of one type with range={tuple(option)}, got '
                f'{", ".join(f"{len(by_type[d])} of {d}" for d in by_type)}; '
                f'give a range to each, range=dict({example})'
            )
        return {d: tuple(option) for d in by_type}, []
    else:
        raise ValueError(
            "expected range='auto', 'dtype', (low, high), dict(percentiles="
            f'(low, high)) or dict(uint16=(low, high)), got {option!r}'
        )
    lines = []
    for dtype in measured:
        some = [
            by_type[dtype][i] for i in spread(len(by_type[dtype]), _IMAGES)
        ]
        spans, seen, nan = _measured(
            [paths[i] for i in some], dtype, channels, percentiles, pages
        )
        ranges[dtype] = spans
        text = ', '.join(map(_pair, spans))
        lines.append(
            f'{len(by_type[dtype])} images of {dtype}, which become 8 bits: '
            f'{text} become 0 and 255, the rest is clipped ({how}: '
            f'percentiles {percentiles[0]:g} and {percentiles[1]:g} of '
            f'{len(some)} images, whose values go from {_pair(seen)}'
            f'{"; pixels that are no number become 0" if nan else ""})'
        )
    return ranges, lines


def _percentiles(option: Mapping[str, Any]) -> tuple[float, float]:
    low, high = option['percentiles']
    if len(option) > 1 or not 0 <= low < high <= 100:
        raise ValueError(
            'expected range=dict(percentiles=(low, high)) with 0 <= low < '
            f'high <= 100, got {dict(option)}'
        )
    return float(low), float(high)


def _measured(
    paths: Sequence[str],
    dtype: str,
    channels: int,
    percentiles: tuple[float, float],
    pages: Pages,
) -> tuple[list[tuple[float, float]], tuple[float, float], bool]:
    """Return percentiles of pixels, their extremes, and if some are NaN.

    Gray and colour have one range, so that colours stay; bands of other
    kinds, which may be of other units, one each.
    """
    parts = []
    for path in paths:
        try:
            with open(path, 'rb') as file:
                raw = read_raw(file, pages == 'bands')
        except Exception as error:
            raise ValueError(unreadable(error, path)) from error
        raw = raw or RawPixels(read_image(path))
        values = raw.values[:, :, : -1 if raw.alpha else None]
        values = values[:, :, :channels].astype(np.float64)
        pixels = values.reshape(-1, values.shape[2])
        parts.append(pixels[:: -(-len(pixels) // _PIXELS)])
    if channels in (1, 3):
        parts = [part.reshape(-1, 1) for part in parts]
    pixels = np.concatenate(parts)
    finite = np.isfinite(pixels)
    spans = []
    for band in np.arange(pixels.shape[1]):
        values = pixels[finite[:, band], band]
        low, high = (
            np.percentile(values, percentiles)
            if len(values)
            else (
                0.0,
                1.0,
            )
        )
        if not dtype.startswith('float'):
            low, high = np.floor(low), np.ceil(high)
        spans.append((float(low), float(high if high > low else low + 1)))
    kept = pixels[finite]
    seen = (float(kept.min()), float(kept.max())) if len(kept) else (0.0, 0.0)
    return spans, seen, not finite.all()


def _pair(span: tuple[float, float]) -> str:
    return f'{span[0]:g} to {span[1]:g}'
