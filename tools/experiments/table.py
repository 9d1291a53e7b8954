#!/usr/bin/env python
"""Render the tables and plots of docs/results/*.md from the ledger.

python tools/experiments/table.py            # write them
python tools/experiments/table.py --check    # fail if they are not up to date

Between the lines `<!-- begin NAME -->` and `<!-- end NAME -->` stands what
this tool wrote; the rest of the page is left as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _paths  # noqa: F401  # isort: skip
import _trust as trust
from _ledger import LEDGER, read_ledger
from _plan import PARTS, PLAN, Plan, read_plan
from _plots import data_of, draw, drawn_from, fingerprint
from _question_tables import (
    Entries,
    pending,
    prototypes,
    select,
    structure,
    table,
)
from _tables import blocks, fill

PAGES = LEDGER.parent
_PLOT, _LEVELS, _STRUCTURE = '/plot', '/prototypes', '/structure'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--check', action='store_true', help='write nothing')
    parser.add_argument('--plan', default=str(PLAN))
    parser.add_argument('--ledger', default=str(LEDGER))
    parser.add_argument(
        '--pages', default=str(PAGES), help='folder of the pages'
    )
    return parser.parse_args(argv)


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


def rendered(page: str, plan: Plan, entries: list[dict]) -> str:
    """The page of a plan and a ledger.

    Raises:
        ValueError: If a block is of no question, scale or part.
    """
    cache: dict[tuple[str, str], Entries] = {}

    def render(name: str) -> str:
        if name == 'pending':
            return pending(plan, entries)
        if name == 'trust':
            return trust.table(trust.read_results())
        kind = next(
            (k for k in (_PLOT, _LEVELS, _STRUCTURE) if name.endswith(k)), ''
        )
        name = name.removesuffix(kind)
        question, _, rest = name.partition('/')
        scale, _, part = rest.partition('/')
        if question not in plan.questions or part not in PARTS:
            raise ValueError(
                'expected a block pending, trust or <question>/<scale>/<part>,'
                f' with or without {_PLOT}, {_LEVELS} or {_STRUCTURE}, got '
                f'{name!r}'
            )
        if (scale, part) not in cache:
            cache[scale, part] = select(entries, plan, scale, part)
        if kind == _PLOT:
            return plot_link(plan, name, cache[scale, part])
        if kind == _LEVELS:
            return prototypes(plan, question, cache[scale, part])
        if kind == _STRUCTURE:
            return structure(plan, question, cache[scale, part])
        return table(plan, question, cache[scale, part])

    return fill(page, render)


def stale_plots(
    page: str, folder: Path, plan: Plan, entries: list[dict]
) -> dict[Path, tuple[str, dict[str, Any]]]:
    """Plots on the page that are not of the ledger: title and data."""
    found = {}
    for name in blocks(page):
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
    plan, entries = read_plan(args.plan), read_ledger(args.ledger)
    wrong = False
    for page in sorted(Path(args.pages).glob('*.md')):
        before = page.read_text('utf-8')
        after = rendered(before, plan, entries)
        plots = stale_plots(after, page.parent, plan, entries)
        if args.check:
            stale = [page] if before != after else []
            for path in [*stale, *plots]:
                print(f'{path} is not what the ledger says: run this tool')
            wrong = wrong or bool(stale or plots)
            continue
        page.write_text(after, 'utf-8')
        for path, (title, data) in plots.items():
            draw(data, path, title, f'{path.stem}; {_seeds(data)}')
    return int(wrong)


def _seeds(data: dict[str, Any]) -> str:
    counts = sorted({len(runs) for runs in data.values()})
    number = ' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return 'one seed' if counts[-1] == 1 else f'{number} seeds, range shaded'


if __name__ == '__main__':
    sys.exit(main())
