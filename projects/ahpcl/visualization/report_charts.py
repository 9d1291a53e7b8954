"""Plots of a report as SVG; the page's style colours them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .clusters import size_histogram
from .log_panels import Stay
from .report_markup import escape, number

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 460, 210
_WIDE = 940
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 8, 34
_MOST_POINTS = 300


def line_chart(
    lines: dict[str, Points],
    *,
    title: str,
    unit: str,
    last: float,
    marks: Sequence[float] = (),
) -> str:
    """Draw lines over epochs.

    Args:
        lines: Pairs of (epoch, value) by the label of the line.
        title: What is shown.
        unit: Unit of the values.
        last: Epoch at the right end.
        marks: Epochs of dashed lines.

    Returns:
        HTML; a note instead of a plot where no value is finite.
    """
    drawn = {name: _drawable(points) for name, points in lines.items()}
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return ''
    values = [y for points in drawn.values() for _, y in points]
    scale = _ticks(min(values), max(values), 5)
    axes = _Axes(_WIDTH, _HEIGHT, (0, max(last, 1)), (scale[0], scale[-1]))
    parts = axes.frame(scale, _whole_ticks(last, 8))
    parts += [axes.dashed(mark) for mark in marks]
    legend = []
    for place, (name, points) in enumerate(drawn.items()):
        hue = _hue(place, len(drawn))
        label = f'{name}, last {number(points[-1][1])}'
        path = ' '.join(f'{axes.x(x):.1f},{axes.y(y):.1f}' for x, y in points)
        parts.append(
            f'<g class="line" style="--h:{hue}"><title>{escape(label)}'
            f'</title><polyline points="{path}"/>'
        )
        if len(points) <= 40:
            parts += [
                f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="1.8"/>'
                for x, y in points
            ]
        parts.append('</g>')
        legend.append(
            f'<li style="--h:{hue}"><i></i>{escape(name)} '
            f'<b>{escape(number(points[-1][1]))}</b></li>'
        )
    shown = f'{title} ({unit})' if unit else title
    return (
        f'<figure class="chart"><figcaption>{escape(shown)}</figcaption>'
        f'{axes.svg(parts, f"{shown} over epochs")}'
        f'<ul class="legend">{"".join(legend)}</ul></figure>'
    )


def counts_chart(
    lines: dict[str, Points], *, title: str, marks: Sequence[float] = ()
) -> str:
    """Draw lines over numbers of clusters, in steps of equal ratio.

    Args:
        lines: Pairs of (K, value) by the label of the line, K rising.
        title: What is shown.
        marks: Numbers of dashed lines.
    """
    counts = sorted({count for line in lines.values() for count, _ in line})
    values = [value for line in lines.values() for _, value in line]
    scale = _ticks(min(values), max(values), 5)
    low, high = math.log(counts[0] / 1.1), math.log(counts[-1] * 1.1)
    axes = _Axes(_WIDTH, _HEIGHT, (low, high), (scale[0], scale[-1]))
    parts = axes.frame(scale, [])
    parts += axes.named([(math.log(n), number(n)) for n in _spread(counts)])
    parts += [axes.dashed(math.log(mark)) for mark in marks]
    legend = []
    for place, (name, line) in enumerate(lines.items()):
        hue = _hue(place, len(lines))
        drawn = [(axes.x(math.log(n)), axes.y(value)) for n, value in line]
        path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in drawn)
        parts.append(
            f'<g class="line" style="--h:{hue}"><title>{escape(name)}'
            f'</title><polyline points="{path}"/>'
        )
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8"/>' for x, y in drawn
        ]
        parts.append('</g>')
        legend.append(f'<li style="--h:{hue}"><i></i>{escape(name)}</li>')
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'{axes.svg(parts, f"{title} over the number of clusters")}'
        f'<ul class="legend">{"".join(legend)}</ul></figure>'
    )


def ladder_chart(
    periods: Sequence[Stay], raised: Sequence[int], last: float
) -> str:
    """Draw the rungs in use over epochs, with the decisions.

    Args:
        periods: Epochs with the same rungs.
        raised: Epochs after which the threshold was raised.
        last: Epoch at the right end.
    """
    counts = sorted({rung for period in periods for rung in period.rungs})
    low, high = math.log(counts[0] / 1.5), math.log(counts[-1] * 1.5)
    height = max(_HEIGHT, 70 + 17 * len(counts))
    axes = _Axes(_WIDE, height, (0, max(last, 1)), (low, high))
    labels = _apart(counts, axes)
    parts = axes.frame(
        [math.log(rung) for rung in labels],
        _whole_ticks(last, 15),
        [str(rung) for rung in labels],
    )
    parts += [axes.dashed(period.start) for period in periods[1:]]
    for period in periods:
        left, right = axes.x(period.start), axes.x(period.end)
        for rung in period.rungs:
            kind = 'newest' if rung == period.rungs[-1] else 'rung'
            y = axes.y(math.log(rung))
            parts.append(
                f'<path class="{kind}" d="M{left:.1f} {y:.1f}H{right:.1f}">'
                f'<title>K = {rung}, epochs {period.start + 1} to '
                f'{period.end}</title></path>'
            )
    base = height - _BOTTOM
    parts += [
        f'<path class="raised" d="M{axes.x(epoch):.1f} {base - 9}l4 8h-8z">'
        f'<title>threshold raised after epoch {epoch}</title></path>'
        for epoch in raised
    ]
    return (
        '<figure class="chart wide"><figcaption>Rungs of the ladder in use '
        '(number of clusters K)</figcaption><div class="scroll" tabindex="0" '
        'role="region" aria-label="Rungs in use">'
        f'{axes.svg(parts, "Rungs of the ladder in use over epochs")}</div>'
        '</figure>'
    )


def size_chart(sizes: Tensor) -> str:
    """Draw a histogram of the cluster sizes of a level, (K,)."""
    found = size_histogram(sizes)
    low, high, edges = found.smallest, found.largest, found.edges
    step = int(edges[1] - edges[0])
    counts = found.clusters.tolist()
    top = _whole_ticks(max(counts), 4)
    if top[-1] < max(counts):
        top.append(top[-1] + top[1] - top[0])
    axes = _Axes(_WIDTH, 170, (edges[0], edges[-1]), (0, top[-1]))
    marks = [t for t in _ticks(low, high, 5) if edges[0] <= t <= edges[-1]]
    parts = axes.frame(top, [t for t in marks if t == int(t)])
    for left, count in zip(edges, counts, strict=False):
        if count:
            first, end = int(left + 0.5), int(left + step - 0.5)
            span = str(first) if first == end else f'{first} to {end}'
            y = axes.y(count)
            parts.append(
                f'<rect class="bar" x="{axes.x(left) + 0.5:.1f}" y="{y:.1f}" '
                f'width="{axes.x(left + step) - axes.x(left) - 1:.1f}" '
                f'height="{axes.y(0) - y:.1f}"><title>{count} clusters of '
                f'{span} images</title></rect>'
            )
    parts.append(axes.dashed(found.median))
    title = (
        f'K = {len(sizes)}: {low:,} to {high:,} images, median '
        f'{found.median:,g}'
    )
    if found.empty:
        title += f', {found.empty} empty'
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'{axes.svg(parts, "Clusters by size; " + title)}</figure>'
    )


class _Axes:
    """From values to places in a picture."""

    def __init__(
        self,
        width: int,
        height: int,
        across: tuple[float, float],
        up: tuple[float, float],
    ) -> None:
        self.width, self.height = width, height
        self._across, self._up = across, up

    def x(self, value: float) -> float:
        low, high = self._across
        room = self.width - _LEFT - _RIGHT
        return _LEFT + room * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self._up
        room = self.height - _TOP - _BOTTOM
        return self.height - _BOTTOM - room * (value - low) / (high - low)

    def frame(
        self,
        up: Sequence[float],
        across: Sequence[float],
        names: Sequence[str] | None = None,
    ) -> list[str]:
        """Draw grid lines and the numbers beside them."""
        names = [number(value) for value in up] if names is None else names
        parts = []
        for value, name in zip(up, names, strict=True):
            y = self.y(value)
            parts.append(
                f'<path class="grid" d="M{_LEFT} {y:.1f}H'
                f'{self.width - _RIGHT}"/><text x="{_LEFT - 6}" '
                f'y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
            )
        return parts + self.named([(own, number(own)) for own in across])

    def named(self, places: Sequence[tuple[float, str]]) -> list[str]:
        """Draw ticks with names at the lower edge."""
        base = self.height - _BOTTOM
        return [
            f'<path class="tick" d="M{self.x(value):.1f} {base}v4"/>'
            f'<text x="{self.x(value):.1f}" y="{base + 18}" '
            f'text-anchor="middle">{escape(name)}</text>'
            for value, name in places
        ]

    def dashed(self, value: float) -> str:
        return (
            f'<path class="mark" d="M{self.x(value):.1f} {_TOP}V'
            f'{self.height - _BOTTOM}"/>'
        )

    def svg(self, parts: Sequence[str], label: str) -> str:
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
        )


def _drawable(points: Points) -> list[tuple[float, float]]:
    """Return finite values; of a long line, the means of neighbours."""
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    if len(finite) <= _MOST_POINTS:
        return finite
    groups = np.array_split(np.asarray(finite), _MOST_POINTS)
    return [(float(x), float(y)) for x, y in (g.mean(0) for g in groups)]


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Return round numbers from below the lowest to above the highest."""
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-6):
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f'{n * step:.10g}') for n in range(first, last + 1)]


def _whole_ticks(last: float, about: int) -> list[float]:
    """Return whole round numbers from 0."""
    step = max(1.0, next(iter(_steps(last / about))))
    return [n * step for n in range(int(last / step) + 1)] or [0.0]


def _steps(raw: float) -> list[float]:
    if raw <= 1:
        return [1.0]
    power = 10.0 ** math.floor(math.log10(raw))
    return [m * power for m in (1, 2, 5, 10) if m * power >= raw]


def _apart(counts: Sequence[int], axes: _Axes) -> list[int]:
    """Return rungs with room for their number, the largest first."""
    kept: list[int] = []
    for rung in reversed(counts):
        y = axes.y(math.log(rung))
        if not kept or y - axes.y(math.log(kept[-1])) >= 12:
            kept.append(rung)
    return kept


def _spread(counts: Sequence[float]) -> list[int]:
    """Return numbers with room for them on an axis of equal ratios."""
    least = max((counts[-1] / counts[0]) ** (1 / 9), 1.2)
    kept = [int(counts[0])]
    for count in counts[1:]:
        if count >= least * kept[-1]:
            kept.append(int(count))
    return kept


def _hue(place: int, lines: int) -> int:
    """Give few lines the colours that are told apart most easily."""
    few = (212, 24, 150, 285, 48, 335)
    return few[place] if lines <= len(few) else round(place * 320 / lines)
