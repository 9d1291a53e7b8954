"""Training curves, with the rungs in use and what the policy decided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from .canvas import GREY, INK, Canvas, count, heading, tidy
from .colours import distinct_colours
from .log_panels import Panel, Stay, last_epoch, panels, stays
from .run_log import EpochRow, RunLog

_WIDTH, _HEIGHT = 4.1, 1.9
_LADDER = 1.5
_PER_ROW = 6  # entries of a legend
_LABEL_ROWS = 3


def curves_figure(log: RunLog, *, source: str = '') -> Figure:
    """Plot scalars over epochs; dashed lines are advances of the ladder.

    Args:
        log: Log of the run.
        source: Name of the run.

    Raises:
        ValueError: If not one epoch was finished.
    """
    if log.epoch_of(1) == 0:
        raise ValueError(
            f'expected a log with a finished epoch, got none in '
            f'{log.files[-1]}'
        )
    drawn = panels(log)
    periods = stays(log.epochs)
    last = last_epoch(log)
    heights = [
        _HEIGHT + 0.55 + 0.14 * max(_extra_rows(p) for p in drawn[i : i + 2])
        for i in range(0, len(drawn), 2)
    ]
    wide = 2 * _WIDTH + 0.7
    labels = label_rows(periods, wide / last)
    above = 0.13 * (1 + max((row for row in labels if row >= 0), default=0))
    ladder = _LADDER + 0.65 + above if periods else 0.0
    canvas = Canvas(
        2 * _WIDTH + 1.75,
        ladder + sum(heights),
        'Training curves',
        (source, count(round(last), 'epoch'), *_notes(log, periods)),
    )
    if periods:
        axes = canvas.axes(0.7, above + 0.1, wide, _LADDER)
        _draw_ladder(axes, log.epochs, periods, labels)
        axes.set_xlim(0, last)
    top = ladder
    rungs = sorted(
        {int(k) for p in drawn if p.by_rung for k in p.names}, reverse=True
    )
    for place, panel in enumerate(drawn):
        row, column = divmod(place, 2)
        axes = canvas.axes(
            0.7 + column * (_WIDTH + 0.7),
            top + heights[row] - _HEIGHT - 0.25,
            _WIDTH,
            _HEIGHT,
        )
        _draw(axes, log, panel, rungs)
        for period in periods[1:]:
            axes.axvline(period.start, color=GREY, lw=0.7, ls='--', zorder=1)
        axes.set_xlim(0, last)
        if column:
            top += heights[row]
    return canvas.figure


def _draw(axes: Axes, log: RunLog, panel: Panel, rungs: Sequence[int]) -> None:
    tidy(axes)
    by_rung = panel.by_rung
    palette = distinct_colours(len(rungs) if by_rung else len(panel.names))
    for place, (label, name) in enumerate(panel.names.items()):
        colour = palette[rungs.index(int(label)) if by_rung else place]
        points = np.array(log.series(name), dtype=float)
        few = len(points) <= 60
        axes.plot(
            *points.T,
            color=GREY if label == 'loss' else tuple(colour),
            lw=2.6 if label == 'loss' else 1.2,
            marker='o' if few else None,
            ms=2.2,
            label=f'K = {label}' if by_rung else label,
        )
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_ylabel(panel.unit)
    heading(axes, panel.title)
    if len(panel.names) > 1 or panel.title == 'validation':
        axes.legend(
            loc='lower right',
            bbox_to_anchor=(1.01, 0.985),
            ncols=min(len(panel.names), _columns(panel)),
            fontsize=6.5,
            frameon=False,
            handlelength=1.0,
            handletextpad=0.4,
            columnspacing=0.9,
            borderpad=0.2,
            labelspacing=0.2,
        )


def _draw_ladder(
    axes: Axes,
    rows: Sequence[EpochRow],
    periods: Sequence[Stay],
    labels: Sequence[int],
) -> None:
    """Draw the rungs in use over epochs, and the decisions."""
    tidy(axes)
    counts = sorted({rung for period in periods for rung in period.rungs})
    for period in periods:
        for rung in period.rungs:
            newest = rung == period.rungs[-1]
            axes.plot(
                (period.start, period.end),
                (rung, rung),
                color=INK if newest else GREY,
                lw=2.4 if newest else 1.2,
                solid_capstyle='butt',
            )
    axes.set_yscale('log')
    axes.set_yticks(counts, [str(rung) for rung in counts])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_tick_params(which='minor', length=0)
    axes.set_ylim(counts[0] / 1.6, counts[-1] * 1.6)
    axes.xaxis.set_major_locator(MaxNLocator(16, integer=True))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel('epochs')
    axes.set_ylabel('K in use')
    raised = [row.epoch for row in rows if row.action == 'raise_threshold']
    axes.plot(
        raised,
        [0.04] * len(raised),
        transform=axes.get_xaxis_transform(),
        ls='',
        marker='^',
        ms=4,
        color='#d55e00',
    )
    for period, row in zip(periods, labels, strict=True):
        if period is not periods[0]:
            axes.axvline(period.start, color=GREY, lw=0.7, ls='--', zorder=1)
        if row >= 0:
            axes.annotate(
                _label(period),
                (period.start, 1),
                xycoords=('data', 'axes fraction'),
                xytext=(1, 3 + 9.4 * row),
                textcoords='offset points',
                fontsize=7,
                color=INK,
            )


def label_rows(periods: Sequence[Stay], scale: float) -> list[int]:
    """Choose the row of the label of every period, so that no two touch.

    Args:
        periods: The periods, in order.
        scale: Inches of an epoch.

    Returns:
        0 is the lowest; -1 where there is no room.
    """
    ends = [-1.0] * _LABEL_ROWS
    rows = []
    for period in periods:
        left = period.start * scale
        free = [row for row in range(_LABEL_ROWS) if ends[row] <= left]
        rows.append(free[0] if free else -1)
        if free:
            ends[free[0]] = left + 0.062 * len(_label(period)) + 0.12
    return rows


def _label(period: Stay) -> str:
    return ', '.join(map(str, period.rungs))


def _notes(log: RunLog, periods: Sequence[Stay]) -> list[str]:
    notes = []
    if len(periods) > 1:
        notes.append('dashed: the ladder advances to the rungs written there')
    if any(row.action == 'raise_threshold' for row in log.epochs):
        notes.append('triangles: the policy raises its threshold')
    if periods:
        notes.append('thick: the newest rung')
    return notes


def _columns(panel: Panel) -> int:
    letters = max(len(label) for label in panel.names)
    letters += 4 if panel.by_rung else 0
    room = _WIDTH - 0.078 * len(panel.title) - 0.15
    return max(1, min(_PER_ROW, int(room / (0.32 + 0.056 * letters))))


def _extra_rows(panel: Panel) -> int:
    """Return the rows of its legend beside the one in the title line."""
    if len(panel.names) == 1:
        return 0
    return -(-len(panel.names) // _columns(panel)) - 1
