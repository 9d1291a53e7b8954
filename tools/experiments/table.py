#!/usr/bin/env python
"""Render the tables and plots of docs/results/README.md from the ledger.

python tools/experiments/table.py            # write them
python tools/experiments/table.py --check    # fail if they are not up to date

Between the lines `<!-- begin NAME -->` and `<!-- end NAME -->` stands what
this tool wrote; the rest of the page is left as it is.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _paths  # noqa: F401  # isort: skip
from _intervals import Interval, interval, paired
from _ledger import LEDGER, newest, read_ledger
from _plan import PARTS, PLAN, Plan, read_plan
from _plots import data_of, draw, drawn_from, fingerprint
from _tables import markdown

PAGE = LEDGER.with_name('README.md')
METRICS = {
    'linear/logreg_top1': 'linear',
    'fewshot/5way_1shot': '5-way 1-shot',
    'fewshot/5way_5shot': '5-way 5-shot',
    'cluster/nmi': 'NMI',
}
COLUMNS = dict(
    variant=('variant', ''),
    seeds=('seeds', 'd'),
    primary=('kNN', ''),
    difference=('against {}', ''),
    verdict=('', ''),
    **{name: (heading, '') for name, heading in METRICS.items()},
    forward=('passes forward', '.1f'),
    backward=('backward', '.1f'),
    seconds=('seconds', '.0f'),
    estep=('E-step, %', '.1f'),
)
LEVELS = dict(
    variant=('variant', ''),
    clusters=('K', 'd'),
    seeds=('seeds', 'd'),
    pairs=('pairs of one class, %', ''),
    nmi=('NMI', ''),
)
_PLOT, _LEVELS = '/plot', '/prototypes'
_BLOCK = re.compile(
    r'(<!-- begin (?P<name>[\w/]+) -->\n).*?(<!-- end (?P=name) -->)', re.S
)

Entries = dict[str, dict[int, dict[str, Any]]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--check', action='store_true', help='write nothing')
    parser.add_argument('--plan', default=str(PLAN))
    parser.add_argument('--ledger', default=str(LEDGER))
    parser.add_argument('--page', default=str(PAGE))
    return parser.parse_args(argv)


def select(entries: list[dict], plan: Plan, scale: str, part: str) -> Entries:
    """The entries of planned rows whose config is as it was, by variant."""
    found = newest(entries)
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
    base = _by_seed(chosen.get(reference or '', {}), plan.primary)
    lines = []
    for variant in plan.tables[question]:
        runs = chosen.get(variant)
        if not runs:
            continue
        own = _by_seed(runs, plan.primary)
        line: dict[str, Any] = dict(
            variant=variant,
            seeds=len(runs),
            primary=interval(list(own.values())).text(),
        )
        difference = None if variant == reference else paired(own, base)
        if difference is not None:
            line['difference'] = difference.text(signed=True)
            line['verdict'] = verdict(difference)
        for name in METRICS:
            values = list(_by_seed(runs, name).values())
            line[name] = interval(values).text() if values else None
        lines.append(line | _cost(list(runs.values())))
    return lines


def verdict(difference: Interval) -> str:
    """'better' or 'worse' only where the interval excludes 0."""
    if not difference.excludes_zero:
        return 'not told apart' if difference.count > 1 else 'one seed'
    return 'better' if difference.mean > 0 else 'worse'


def table(plan: Plan, question: str, chosen: Entries) -> str:
    """The table of a question in Markdown."""
    lines = question_rows(plan, question, chosen)
    if not lines:
        return 'No row has run.\n'
    reference = plan.comparisons.get(question)
    columns = dict(COLUMNS)
    if reference is None:
        del columns['difference'], columns['verdict']
    else:
        heading, form = columns['difference']
        columns['difference'] = (heading.format(reference), form)
    return markdown(lines, columns) + '\n'


def prototypes(plan: Plan, question: str, chosen: Entries) -> str:
    """What prototypes are worth as labels at the end of training."""
    lines = []
    for variant in plan.tables[question]:
        runs = [
            e for e in chosen.get(variant, {}).values() if 'prototypes' in e
        ]
        by_count: dict[int, list[dict]] = {}
        for entry in runs:
            for level in entry['prototypes']:
                by_count.setdefault(level['clusters'], []).append(level)
        for count, levels in by_count.items():
            lines.append(
                dict(
                    variant=variant,
                    clusters=count,
                    seeds=len(levels),
                    pairs=interval(
                        [level['pair_precision'] for level in levels]
                    ).text(),
                    nmi=interval([level['nmi'] for level in levels]).text(),
                )
            )
    if not lines:
        return 'No row has run.\n'
    return markdown(lines, LEVELS) + '\n'


def pending(plan: Plan, entries: list[dict]) -> str:
    """How many rows of every scale have run."""
    found = newest(entries)
    lines = []
    for scale in dict.fromkeys(row.scale for row in plan.rows):
        rows = [row for row in plan.rows if row.scale == scale]
        done = sum(row.key in found for row in rows)
        lines.append(f'- `{scale}`: {done} of {len(rows)} rows have run.')
    return '\n'.join(lines) + '\n'


def plot_name(question: str, scale: str, part: str) -> str:
    """File of the plots of a question, beside the page."""
    return f'{question}_{scale}_{part}.png'


def plot_link(plan: Plan, block: str, chosen: Entries) -> str:
    """The plots of a question in Markdown, or that there are none."""
    question, scale, part = block.split('/')
    if not data_of(plan.tables[question], chosen):
        return 'No row has run.\n'
    alt = f'{plan.questions[question]} ({scale}, {part})'
    return f'![{alt}]({plot_name(question, scale, part)})\n'


def fill(page: str, render: Callable[[str], str]) -> str:
    """The page with every block rendered anew.

    Args:
        page: Text with blocks.
        render: From the name of a block to its text.
    """

    def anew(found: re.Match[str]) -> str:
        return f'{found[1]}\n{render(found["name"])}\n{found[3]}'

    return _BLOCK.sub(anew, page)


def rendered(page: str, plan: Plan, entries: list[dict]) -> str:
    """The page of a plan and a ledger.

    Raises:
        ValueError: If a block is of no question, scale or part.
    """
    cache: dict[tuple[str, str], Entries] = {}

    def render(name: str) -> str:
        if name == 'pending':
            return pending(plan, entries)
        kind = next((k for k in (_PLOT, _LEVELS) if name.endswith(k)), '')
        name = name.removesuffix(kind)
        question, _, rest = name.partition('/')
        scale, _, part = rest.partition('/')
        if question not in plan.questions or part not in PARTS:
            raise ValueError(
                'expected a block pending or <question>/<scale>/<part>, with '
                f'or without {_PLOT} or {_LEVELS}, got {name!r}'
            )
        if (scale, part) not in cache:
            cache[scale, part] = select(entries, plan, scale, part)
        if kind == _PLOT:
            return plot_link(plan, name, cache[scale, part])
        if kind == _LEVELS:
            return prototypes(plan, question, cache[scale, part])
        return table(plan, question, cache[scale, part])

    return fill(page, render)


def stale_plots(
    page: str, folder: Path, plan: Plan, entries: list[dict]
) -> dict[Path, tuple[str, dict[str, Any]]]:
    """Plots on the page that are not of the ledger: title and data."""
    found = {}
    for match in _BLOCK.finditer(page):
        name = match['name']
        if not name.endswith(_PLOT):
            continue
        question, scale, part = name.removesuffix(_PLOT).split('/')
        chosen = select(entries, plan, scale, part)
        data = data_of(plan.tables[question], chosen)
        path = folder / plot_name(question, scale, part)
        if data and drawn_from(path) != fingerprint(data):
            found[path] = plan.questions[question], data
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Renders the page.

    Returns:
        Exit status: 1 if ``--check`` found another page.
    """
    args = parse_args(argv)
    page = Path(args.page)
    before = page.read_text('utf-8')
    plan, entries = read_plan(args.plan), read_ledger(args.ledger)
    after = rendered(before, plan, entries)
    plots = stale_plots(after, page.parent, plan, entries)
    if args.check:
        stale = [page] if before != after else []
        for path in [*stale, *plots]:
            print(f'{path} is not what the ledger says: run this tool')
        return int(bool(stale or plots))
    page.write_text(after, 'utf-8')
    for path, (title, data) in plots.items():
        draw(data, path, title, f'{path.stem}; {_seeds(data)}')
    return 0


def _seeds(data: dict[str, Any]) -> str:
    counts = sorted({len(runs) for runs in data.values()})
    number = ' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return 'one seed' if counts[-1] == 1 else f'{number} seeds, range shaded'


def _by_seed(runs: dict[int, dict], metric: str) -> dict[int, float]:
    return {
        seed: entry['metrics'][metric]
        for seed, entry in runs.items()
        if metric in entry['metrics']
    }


def _cost(entries: list[dict]) -> dict[str, float | None]:
    """Means over seeds: passes per image, seconds, share of the E-step."""
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
        estep=100 * mean(estep) / seconds,
    )


if __name__ == '__main__':
    sys.exit(main())
