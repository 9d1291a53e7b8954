"""Tables of a question from the ledger, in Markdown."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any

from _intervals import Interval, holm, interval, p_value, paired, unpaired
from _ledger import newest
from _plan import Plan
from _tables import markdown

METRICS = {
    'linear/logreg_top1': 'logistic regression',
    'linear/sgd_top1': 'linear',
    'fewshot/5way_1shot': '5-way 1-shot',
    'fewshot/5way_5shot': '5-way 5-shot',
    'cluster/nmi': 'NMI',
    'held_out/nmi': 'NMI, held out',
    'held_out/hungarian': 'ACC, held out',
    'one_label/top1': 'one label per class',
}
COLUMNS = dict(
    variant=('variant', ''),
    seeds=('seeds', 'd'),
    primary=('kNN', ''),
    difference=('against {}', ''),
    unpaired=('unpaired', ''),
    verdict=('', ''),
    **{name: (heading, '') for name, heading in METRICS.items()},
    forward=('passes forward', '.1f'),
    backward=('backward', '.1f'),
    seconds=('seconds', '.0f'),
    estep=('E-step, %', '.1f'),
)
STRUCTURE = dict(
    variant=('variant', ''),
    kind=('of', ''),
    clusters=('K, or k', ''),
    seeds=('seeds', 'd'),
    pairs=('pairs of one class, %', ''),
    beyond=('beyond chance, %', ''),
    purity=('purity beyond chance, %', ''),
    worst=('pairs: worst class', ''),
    best=('best class', ''),
)
LEVELS = dict(
    variant=('variant', ''),
    clusters=('K', 'd'),
    truth=('against', ''),
    seeds=('seeds', 'd'),
    pairs=('pairs of one class, %', ''),
    nmi=('NMI', ''),
)

Entries = dict[str, dict[int, dict[str, Any]]]


def select(entries: list[dict], plan: Plan, scale: str, part: str) -> Entries:
    """The entries of planned rows whose config is as it was, by variant."""
    found = newest(entries, plan.superseded)
    chosen: Entries = {}
    for row in plan.rows:
        if (row.scale, row.part) != (scale, part):
            continue
        entry = found.get(row.key)
        if entry is not None:
            chosen.setdefault(row.variant, {})[row.seed] = entry
    return chosen


def question_rows(
    plan: Plan, question: str, chosen: Entries
) -> list[dict[str, Any]]:
    """Lines of the table of a question: one per variant that has run."""
    reference = plan.comparisons.get(question)
    lines = []
    for variant in plan.tables[question]:
        runs = chosen.get(variant)
        if not runs:
            continue
        own = _by_seed(runs, plan.primary)
        control = plan.controls.get(variant, reference)
        base_runs = chosen.get(control or '', {})
        base = _by_seed(base_runs, plan.primary)
        line: dict[str, Any] = dict(
            variant=variant,
            seeds=len(runs),
            primary=interval(list(own.values())).text(),
        )
        difference = None if variant == reference else paired(own, base)
        if difference is not None:
            apart = unpaired(list(own.values()), list(base.values()))
            line['unpaired'] = apart.text(signed=True) if apart else None
            line['p'] = p_value(difference)
            line['difference'] = difference.text(signed=True) + (
                '' if control == reference else f' ({control})'
            )
            line['verdict'] = verdict(difference) + (
                '' if _same_hardware(runs, base_runs) else ', other hardware'
            )
        for name in METRICS:
            values = list(_by_seed(runs, name).values())
            line[name] = interval(values).text() if values else None
        lines.append(line | _cost(list(runs.values())))
    if question in plan.rivals:
        _correct(lines)
    return lines


def _correct(lines: list[dict[str, Any]]) -> None:
    """Say 'better' or 'worse' only where it survives Holm's correction."""
    compared = [line for line in lines if 'p' in line]
    adjusted = holm([line['p'] for line in compared])
    for line, p in zip(compared, adjusted, strict=True):
        if not p < 0.05:
            for word in ('better', 'worse'):
                line['verdict'] = line['verdict'].replace(
                    word, 'not told apart'
                )


def verdict(difference: Interval) -> str:
    """'better' or 'worse' only where the interval excludes 0."""
    if not difference.excludes_zero:
        return 'not told apart' if difference.count > 1 else 'one seed'
    return 'better' if difference.mean > 0 else 'worse'


def _same_hardware(
    runs: dict[int, dict[str, Any]], base: dict[int, dict[str, Any]]
) -> bool:
    """Whether all pairs ran on like processors: else they round unlike."""
    return all(
        round_alike(
            runs[seed].get('hardware', {}), base[seed].get('hardware', {})
        )
        for seed in runs.keys() & base.keys()
    )


def round_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two machines of the ledger compute the same, bit for bit.

    By their names, and by how they round where both rows say it.
    """
    fields = ('device', 'cpu', 'torch', 'threads')
    if any(one.get(f) != other.get(f) for f in fields):
        return False
    known = 'rounding' in one and 'rounding' in other
    return not known or one['rounding'] == other['rounding']


def table(plan: Plan, question: str, chosen: Entries) -> str:
    """The table of a question in Markdown."""
    lines = question_rows(plan, question, chosen)
    if not lines:
        return 'No row has run.\n'
    reference = plan.comparisons.get(question)
    columns = {
        name: column
        for name, column in COLUMNS.items()
        if name not in METRICS or any(line[name] for line in lines)
    }
    if question not in plan.rivals:
        del columns['unpaired']
    if reference is None:
        del columns['difference'], columns['verdict']
    else:
        heading, form = columns['difference']
        columns['difference'] = (heading.format(reference), form)
    return markdown(lines, columns) + '\n\n' + _commits(plan, question, chosen)


def _commits(plan: Plan, question: str, chosen: Entries) -> str:
    """At which commits the rows of a table ran."""
    counts = Counter(
        str(entry.get('commit'))[:7]
        for variant in plan.tables[question]
        for entry in chosen.get(variant, {}).values()
    )
    shown = ', '.join(f'{commit} ({n})' for commit, n in counts.most_common())
    return f'Rows by commit: {shown}.\n'


def structure(plan: Plan, question: str, chosen: Entries) -> str:
    """How far clusters and neighbours are of one class, beyond chance."""
    found: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for variant in plan.tables[question]:
        for entry in chosen.get(variant, {}).values():
            seen = entry.get('structure')
            if seen is None:
                continue
            for kind, rows in (
                ('own prototypes', seen['levels']),
                ('k-means', seen['kmeans']),
            ):
                for level in rows:
                    by_class = level['pairs_by_class']
                    values = dict(
                        pairs=level['pairs'],
                        beyond=level['pairs_beyond_chance'],
                        purity=level['purity_beyond_chance'],
                        worst=min(by_class),
                        best=max(by_class),
                    )
                    key = (variant, kind, str(level['clusters']))
                    found.setdefault(key, []).append(values)
            for k, share in seen['neighbours'].items():
                key = (variant, 'nearest neighbours', k)
                found.setdefault(key, []).append(dict(pairs=share))
    if not found:
        return 'No row has run.\n'
    lines = [
        dict(
            variant=variant,
            kind=kind,
            clusters=count,
            seeds=len(rows),
            **{
                name: interval([row[name] for row in rows]).text()
                for name in rows[0]
            },
        )
        for (variant, kind, count), rows in found.items()
    ]
    columns = {
        name: column
        for name, column in STRUCTURE.items()
        if any(name in line for line in lines)
    }
    return markdown([dict.fromkeys(columns) | x for x in lines], columns) + (
        '\n'
    )


def prototypes(plan: Plan, question: str, chosen: Entries) -> str:
    """What prototypes are worth as labels at the end of training."""
    lines = []
    for variant in plan.tables[question]:
        runs = [
            e for e in chosen.get(variant, {}).values() if 'prototypes' in e
        ]
        grouped: dict[tuple[int, str | None], list[dict]] = {}
        for entry in runs:
            for level in entry['prototypes']:
                key = level['clusters'], level.get('truth')
                grouped.setdefault(key, []).append(level)
        for (count, truth), levels in grouped.items():
            lines.append(
                dict(
                    variant=variant,
                    clusters=count,
                    truth=truth,
                    seeds=len(levels),
                    pairs=interval(
                        [level['pair_precision'] for level in levels]
                    ).text(),
                    nmi=interval([level['nmi'] for level in levels]).text(),
                )
            )
    if not lines:
        return 'No row has run.\n'
    # Only where classes are nested is there more than one truth.
    nested = any(line['truth'] is not None for line in lines)
    columns = {k: v for k, v in LEVELS.items() if nested or k != 'truth'}
    return markdown(lines, columns) + '\n'


def pending(plan: Plan, entries: list[dict]) -> str:
    """How many rows of every scale have run."""
    found = newest(entries, plan.superseded)
    lines = []
    for scale in dict.fromkeys(row.scale for row in plan.rows):
        # One run may have several names.
        keys = {row.key for row in plan.rows if row.scale == scale}
        done = len(keys & found.keys())
        lines.append(f'- `{scale}`: {done} of {len(keys)} rows have run.')
    return '\n'.join(lines) + '\n'


def _by_seed(runs: dict[int, dict], metric: str) -> dict[int, float]:
    return {
        seed: entry['metrics'][metric]
        for seed, entry in runs.items()
        if metric in entry['metrics']
    }


def _cost(entries: list[dict]) -> dict[str, float | None]:
    """Means over seeds: passes per image, seconds, share of the E-step.

    The share is None where no seconds of an E-step were logged.
    """
    budgets = [entry['budget'] for entry in entries]
    trained = [b for b in budgets if b.get('images')]
    if not trained:
        return {}
    mean = statistics.fmean
    estep = [
        entry['curves'].get('estep_extract_seconds', 0.0)
        + entry['curves'].get('estep_cluster_seconds', 0.0)
        for entry in entries
    ]
    seconds = mean(b['train_seconds'] for b in trained)
    return dict(
        forward=mean(b['forward'] / b['images'] for b in trained),
        backward=mean(b['backward'] / b['images'] for b in trained),
        seconds=seconds,
        estep=100 * mean(estep) / seconds if any(estep) else None,
    )
