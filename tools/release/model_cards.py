#!/usr/bin/env python
"""Write the cards of the encoders that lead the ledger, and rebuild them.

python tools/release/model_cards.py                # docs/models/*.md
python tools/release/model_cards.py --check        # fail if they are stale
python tools/release/model_cards.py --rebuild digits_full

For each of the scales digits_full, cifar10 and cpu (TIN-100) the card is of
the method with the highest mean of the primary metric among those that need
no labels and have two seeds or more. The weights are not in the repository:
--rebuild trains the row by the code of its commit, in a temporary work tree
and on one thread, compares its figures with those of the ledger, and keeps
checkpoint, export and card in one folder. What came out is kept in
docs/models/rebuilt.json and on the card.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _experiments  # noqa: F401  # isort: skip
from _card_sets import SETS
from _card_text import card_text, figures_of, row_of
from _leaders import Standing, standing
from _ledger import LEDGER, read_ledger
from _plan import PLAN, ROOT, Plan, read_plan
from _rebuild import compare, keep, train_again

CARDS = ROOT / 'docs' / 'models'
REBUILT = 'rebuilt.json'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    todo = parser.add_mutually_exclusive_group()
    todo.add_argument('--check', action='store_true', help='write nothing')
    todo.add_argument('--rebuild', choices=list(SETS), metavar='SCALE')
    parser.add_argument(
        '--out',
        help='folder of what is rebuilt (default: work_dirs/models/NAME)',
    )
    parser.add_argument('--plan', default=str(PLAN))
    parser.add_argument('--ledger', default=str(LEDGER))
    parser.add_argument('--cards', default=str(CARDS), help='their folder')
    return parser.parse_args(argv)


def read_rebuilt(folder: Path) -> dict[str, Any]:
    """What came out of rebuilding, by scale."""
    path = folder / REBUILT
    return json.loads(path.read_text('utf-8')) if path.is_file() else {}


def written(found: Standing, plan: Plan, rebuilt: dict[str, Any]) -> str:
    """The card of a scale; a rebuild of another row does not count."""
    came = rebuilt.get(found.scale)
    if came is not None and any(
        came[name] != found.entry[name] for name in ('digest', 'commit', 'row')
    ):
        came = None
    config = row_of(found, plan).read()
    return card_text(found, SETS[found.scale], config, came)


def rebuild(found: Standing, plan: Plan, args: argparse.Namespace) -> bool:
    """Train the encoder of a scale again.

    Returns:
        Whether all its figures fit.
    """
    images, folder = SETS[found.scale], Path(args.cards)
    out = Path(args.out or ROOT / 'work_dirs' / 'models' / images.name)
    out.mkdir(parents=True, exist_ok=True)
    entry, checkpoint = train_again(found.entry, out, Path(args.ledger))
    came = compare(found, entry, list(figures_of(found)))
    known = read_rebuilt(folder) | {found.scale: came}
    text = json.dumps(known, indent=1, sort_keys=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REBUILT).write_text(text + '\n', 'utf-8')
    card = written(found, plan, known)
    (folder / f'{images.name}.md').write_text(card, 'utf-8')
    keep(checkpoint, card, images, out)
    for name, figure in came['figures'].items():
        allowed = 'equal'
        if not came['exact']:
            allowed = f'{figure["low"]:.2f} to {figure["high"]:.2f}'
        print(
            f'{name}: ledger {figure["row"]:.4f}, now {figure["found"]:.4f}, '
            f'allowed {allowed}: {"fits" if figure["fits"] else "DOES NOT"}'
        )
    print(f'checkpoint, export and card are in {out}')
    return all(figure['fits'] for figure in came['figures'].values())


def main(argv: Sequence[str] | None = None) -> int:
    """Writes, checks or rebuilds.

    Returns:
        Exit status: 1 if ``--check`` found another card, or ``--rebuild``
        other figures.
    """
    args = parse_args(argv)
    plan, entries = read_plan(args.plan), read_ledger(args.ledger)
    folder = Path(args.cards)
    if args.rebuild:
        found = standing(entries, plan, args.rebuild)
        return int(not rebuild(found, plan, args))
    rebuilt, stale = read_rebuilt(folder), False
    for scale, images in SETS.items():
        text = written(standing(entries, plan, scale), plan, rebuilt)
        path = folder / f'{images.name}.md'
        if args.check:
            known = path.read_text('utf-8') if path.is_file() else None
            if known != text:
                print(f'{path} is not what the ledger says: run this tool')
                stale = True
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, 'utf-8')
    return int(stale)


if __name__ == '__main__':
    sys.exit(main())
