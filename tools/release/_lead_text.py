"""What a card says of the others: does its encoder lead?"""

from __future__ import annotations

from typing import Any

import _experiments  # noqa: F401  # isort: skip
from _leaders import Method, Standing
from _tables import markdown

_SHOWN = 5  # rivals in the table


def verdict(found: Standing) -> str:
    """Whether it leads, and whether that is more than chance."""
    if not found.rivals:
        return (
            'Whether it is the best is not known: no other method has two '
            'seeds or more here.'
        )
    apart = sum(r.told_apart for r in found.rivals)
    return (
        'Its method has the highest mean of kNN in the ledger of the '
        f'experiments; of {len(found.rivals)} others {apart} could be told '
        'apart from it.'
    )


def lead_lines(found: Standing) -> list[str]:
    """The section about it: a sentence, and the next ones in a table."""
    own = found.leader.interval(found.metric).text()
    if not found.rivals:
        lines = [
            f'Not known: *{found.leader.variant}* ({own} of kNN) is the only '
            'method that needs no labels with two seeds or more here. This '
            'card says which encoder there is, not which is best.'
        ]
    else:
        number = len(found.rivals)
        near = sum(r.overlaps for r in found.rivals)
        apart = sum(r.told_apart for r in found.rivals)
        lines = [
            f'Of {number + 1} methods that need no labels and have two seeds '
            f'or more, *{found.leader.variant}* has the highest mean of kNN, '
            'the metric that choices are made by: '
            f'{own}. **The intervals of {near} of the other {number} overlap '
            f'its own**; by paired differences, corrected for {number} '
            f'comparisons (Holm), the number told apart from it is {apart}. '
            'The highest of many means is also too high: fresh images would '
            f'show less. {_longer(found)}'.rstrip(),
            '',
            _rivals(found),
        ]
    if found.single:
        some = ', '.join(
            f'*{m.variant}* {m.interval(found.metric).mean:.2f}'
            for m in found.single[:_SHOWN]
        )
        rest = len(found.single) - _SHOWN
        lines += [
            '',
            'With one seed that counts, so without an interval: '
            f'{some}{f", and {rest} lower ones" if rest > 0 else ""}.',
        ]
    return lines


def _longer(found: Standing) -> str:
    """Say that others trained for a shorter time, if they did."""
    own = found.entry['budget']['epochs']
    shorter = sum(
        _line(r.method, found.metric)['epochs'] < own for r in found.rivals
    )
    if not shorter:
        return ''
    return f'It trained for {own} epochs, {shorter} of the others for fewer.'


def _rivals(found: Standing) -> str:
    """The leader and the next ones, as a table."""
    rows = [_line(found.leader, found.metric)]
    for rival in found.rivals[:_SHOWN]:
        lead = None if rival.lead is None else rival.lead.text(signed=True)
        rows.append(
            _line(rival.method, found.metric)
            | dict(
                lead=lead,
                overlaps='yes' if rival.overlaps else 'no',
                apart='yes' if rival.told_apart else 'no',
            )
        )
    columns = dict(
        method=('method', ''),
        seeds=('seeds', 'd'),
        value=('kNN', ''),
        lead=('lead over it, paired', ''),
        overlaps=('intervals overlap', ''),
        apart=('told apart', ''),
        epochs=('epochs', 'd'),
        forward=('passes forward', '.1f'),
        backward=('backward', '.1f'),
    )
    rest = len(found.rivals) - _SHOWN
    more = f'\n\n{rest} more are behind these.' if rest > 0 else ''
    return markdown(rows, columns) + more


def _line(method: Method, metric: str) -> dict[str, Any]:
    budget = method.runs[min(method.runs)]['budget']
    return dict(
        method=f'*{method.variant}*',
        seeds=len(method.values(metric)),
        value=method.interval(metric).text(),
        epochs=budget['epochs'],
        forward=budget['forward'] / budget['images'],
        backward=budget['backward'] / budget['images'],
    )
