"""What a run logged, as parts of a report: curves, decisions, E-steps."""

from __future__ import annotations

import re

from .log_panels import Stay, last_epoch, panels, stays
from .report_charts import ladder_chart, line_chart
from .report_markup import folded, paragraph, table
from .run_log import RunLog

_RUNG = re.compile(r'estep/k(\d+)/(\w+)')
_LONG = 40  # rows of a table that is not folded
_WORDS = {
    'keep': 'keep',
    'raise_threshold': 'raise threshold',
    'advance': 'advance',
}


def curves(log: RunLog) -> str:
    """Plot over epochs, dashed where the ladder advances."""
    periods = stays(log.epochs)
    last = last_epoch(log)
    raised = [r.epoch for r in log.epochs if r.action == 'raise_threshold']
    marks = [period.start for period in periods[1:]]
    parts = []
    notes = ['Across: epochs. Numbers beside a name are its last values.']
    if marks:
        notes.append('Dashed: the ladder advances.')
    if periods:
        notes.append('Thick: the newest rung.')
        parts.append(ladder_chart(periods, raised, last))
    if raised:
        notes.append('Triangles: the policy raises its threshold.')
    parts.append('<div class="charts">')
    for panel in panels(log):
        named = {
            f'K = {label}' if panel.by_rung else label: log.series(name)
            for label, name in panel.names.items()
        }
        parts.append(
            line_chart(
                named,
                title=panel.title,
                unit=panel.unit,
                last=last,
                marks=marks,
            )
        )
    parts.append('</div>')
    return '\n'.join([paragraph(' '.join(notes), 'note'), *parts])


def decisions(log: RunLog) -> str:
    """Return a row for every epoch; the periods of the ladder before."""
    rows = [row for row in log.epochs if row.action is not None]
    if not rows:
        return paragraph(
            'The run logged no decisions: it has no ladder, or no policy, or '
            'ended in its warm-up.'
        )
    periods = stays(log.epochs)
    told = {period.end: period for period in periods[:-1]}
    summary = table(
        ('epochs', 'rungs in use', 'advanced because'),
        [
            (_span(period), _rungs(period.rungs), _why(log, period, periods))
            for period in periods
        ],
        caption='Periods of the ladder',
    )
    whole = table(
        (
            *('epoch', 'rungs', 'acc_inst %', 'acc_proto %', 'threshold'),
            *('decision', 'reason'),
        ),
        [
            (
                row.epoch,
                _rungs(row.rungs),
                row.signal('acc_inst'),
                row.signal('acc_proto'),
                row.values.get('policy/threshold'),
                _WORDS[row.action or 'keep']
                + (
                    ', the ladder has ended'
                    if row.action == 'advance'
                    and row.epoch not in told
                    and row is not rows[-1]
                    else ''
                ),
                row.reason,
            )
            for row in rows
        ],
        caption='Decisions of the policy, by epoch',
        classes=[row.action or '' for row in rows],
    )
    return f'{summary}\n' + folded(
        f'All {len(rows)} decisions', whole, opened=len(rows) <= _LONG
    )


def esteps(log: RunLog) -> str:
    """Return a row for every clustering."""
    rows = []
    for epoch in log.epochs:
        found: dict[int, dict[str, float]] = {}
        for name, value in epoch.values.items():
            match = _RUNG.fullmatch(name)
            if match:
                found.setdefault(int(match[1]), {})[match[2]] = value
        for rung in sorted(found, reverse=True):
            own = found[rung]
            first = rung == max(found)
            rows.append(
                (
                    epoch.epoch,
                    rung,
                    *(own.get(name) for name in _COLUMNS),
                    epoch.values.get('estep/seconds_extract') if first else '',
                    epoch.values.get('estep/seconds_cluster') if first else '',
                    epoch.values.get('estep/share') if first else '',
                )
            )
    if not rows:
        return paragraph('The run logged no E-steps.')
    whole = table(
        (
            *('before epoch', 'K', 'clusters in use', 'objective'),
            *('smallest', 'median', 'largest', 'repaired'),
            *('agreement (AMI)', 'extraction s', 'clustering s'),
            'share of the epoch %',
        ),
        rows,
        caption='E-steps: clustering of all training images',
    )
    return folded(
        f'All {len(rows)} clusterings', whole, opened=len(rows) <= _LONG
    )


_COLUMNS = (
    *('clusters', 'objective', 'size_min', 'size_median', 'size_max'),
    *('repaired', 'agreement'),
)


def _span(period: Stay) -> str:
    first = period.start + 1
    return str(first) if first == period.end else f'{first} to {period.end}'


def _rungs(rungs: tuple[int, ...]) -> str:
    return ', '.join(map(str, rungs))


def _why(log: RunLog, period: Stay, periods: list[Stay]) -> str:
    if period is periods[-1]:
        return 'end of the run'
    reasons = [row.reason for row in log.epochs if row.epoch == period.end]
    return reasons[0] if reasons else ''
