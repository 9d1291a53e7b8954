"""How many kinds there are, as a part of a report."""

from __future__ import annotations

from collections.abc import Mapping

from ahpcl.core.metrics.count_result import KindCount
from ahpcl.evaluation.count_metric import CountMetric, grey_views
from ahpcl.evaluation.run_data import RunData
from ahpcl.evaluation.tasks import build_tasks

from .report_charts import counts_chart
from .report_markup import paragraph, table
from .run_log import RunLog

_HEADS = {
    'clusters': 'K',
    'support': 'support',
    'agreement': 'halves agree',
    'expected_agreement': 'without structure',
    'silhouette': 'silhouette',
    'expected_silhouette': 'without structure',
    'restarts': 'restarts agree',
    'tightness': 'tightness',
    'views': 'grey agrees',
}


def kinds_of_run(run: RunData, log: RunLog | None) -> str:
    """Count the kinds of the training images, and describe them.

    The config's ``evaluation = dict(count=[...])`` says how, as for
    ``ahpcl evaluate``.

    Args:
        run: A checkpoint.
        log: Log of the run, with the accuracies of its levels; None without.
    """
    metric = build_tasks(['count'], run.config)['count'][0]
    assert isinstance(metric, CountMetric)
    found = metric.count(run.kind_rows, grey_views(run))
    accuracies = {}
    if log is not None and run.own_prototypes:
        for count in run.hierarchy.num_clusters:
            series = log.series(f'acc_proto_k{count}')
            if series:
                accuracies[count] = series[-1][1]
    return kinds_part(found, accuracies)


def kinds_part(
    found: KindCount, accuracies: Mapping[int, float] | None = None
) -> str:
    """Describe a count: number, interval, reason, a curve and the evidence.

    Args:
        found: The count.
        accuracies: Last prototype accuracy of levels, in percent, by K.
    """
    parts = [paragraph(_answer(found), '' if found.number else 'warning')]
    parts += [paragraph(_sentence(note), 'note') for note in found.notes]
    best = found.best
    if best is None or found.interval is None:
        return '\n'.join(parts)
    rows = found.candidates
    lines = {
        name: [(row.clusters, getattr(row, key)) for row in rows]
        for name, key in (
            ('support', 'support'),
            ('halves agree', 'agreement'),
            ('halves of a cloud without structure', 'expected_agreement'),
        )
    }
    parts.append(
        '<div class="charts">'
        + counts_chart(
            lines,
            title='Support and agreement, by number of clusters K',
            marks=sorted({*found.interval}),
        )
        + '</div>'
    )
    names = [
        name for name in _HEADS if name != 'views' or best.views is not None
    ]
    parts.append(
        table(
            [_HEADS[name] for name in names],
            [[_shown(getattr(row, name)) for name in names] for row in rows],
            caption=f'Evidence, from {found.images:,} images',
            classes=['best' if row is best else '' for row in rows],
        )
    )
    if accuracies:
        parts.append(
            table(
                ('K', 'prototype accuracy %'),
                sorted(accuracies.items()),
                caption='Levels of the run, as last logged',
            )
        )
    parts.append(
        paragraph(
            'Halves agree: adjusted Rand index of clusters that were found '
            'in two halves of the images, from cold starts, 1 if they are '
            'the same, 0 by chance. Without structure: the same in a single '
            'cloud as wide in every direction as the images. Support: the '
            'mean of the excess of agreement and of silhouette over that '
            'cloud. Restarts and tightness (mean cosine with the centroid) '
            'are shown, and decide nothing. Dashed: the interval. Kinds are '
            'what the features keep apart, and that can be colour.',
            'note',
        )
    )
    return '\n'.join(parts)


def _answer(found: KindCount) -> str:
    if found.number is None or found.interval is None:
        return f'Not determined: {found.reason}.'
    low, high = found.interval
    span = '' if low == high else f', between {low} and {high}'
    return f'About {found.number}{span}: {found.reason}.'


def _sentence(text: str) -> str:
    return f'{text[:1].upper()}{text[1:]}.'


def _shown(value: float | int | None) -> float | int | None:
    return round(value, 3) if isinstance(value, float) else value
