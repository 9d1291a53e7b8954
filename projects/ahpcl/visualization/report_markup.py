"""HTML of a report: whatever comes from a run is escaped here."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from ahpcl.utils.text import as_utf8

_SLOT = re.compile(r'\{\{(\w+)\}\}')
_SENTENCE = 30  # letters from which a cell may break
_PARSED = {'<': '\\u003c', '>': '\\u003e', '&': '\\u0026'}


def escape(value: Any) -> str:
    """Escape text for HTML, in an element or in a quoted attribute."""
    return html.escape(as_utf8(str(value)), quote=True)


def script_json(value: Any) -> str:
    """Return JSON that cannot end the script element which holds it.

    Numbers that JSON does not know become null, and text is as by
    :func:`ahpcl.utils.text.as_utf8`.
    """
    text = json.dumps(_plain(value), allow_nan=False, separators=(',', ':'))
    for sign, escaped in _PARSED.items():
        text = text.replace(sign, escaped)
    return text


def number(value: Any) -> str:
    """Format counts with separators, others to three or four digits."""
    if value is None:
        return '-'
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f'{value:,}'
    if not math.isfinite(value):
        return '-'
    if value == int(value) and abs(value) < 1e15:
        return f'{int(value):,}'
    return f'{value:,.1f}' if abs(value) >= 1000 else f'{value:.4g}'


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    caption: str,
    classes: Sequence[str] = (),
) -> str:
    """Return a table that scrolls by itself where the screen is narrow.

    Args:
        head: Names of the columns.
        rows: Values; numbers stand to the right.
        caption: What is in it.
        classes: Style classes of the rows; empty for none.
    """
    rows = list(rows)
    columns = list(zip(*rows, strict=True)) or [()] * len(head)
    lines = [
        f'<p class="caption">{escape(caption)}</p>',
        '<div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(caption)}">',
        f'<table aria-label="{escape(caption)}"><thead><tr>',
        *(
            _head(name, column)
            for name, column in zip(head, columns, strict=True)
        ),
        '</tr></thead><tbody>',
    ]
    for place, row in enumerate(rows):
        own = f' class="{escape(classes[place])}"' if classes else ''
        cells = ''.join(_cell(value) for value in row)
        lines.append(f'<tr{own}>{cells}</tr>')
    lines.append('</tbody></table></div>')
    return '\n'.join(lines)


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
    """List names and values, one below the other."""
    lines = [
        f'<div><dt>{escape(name)}</dt><dd>{escape(number(value))}</dd></div>'
        for name, value in pairs
        if value not in (None, '')
    ]
    return f'<dl class="facts">{"".join(lines)}</dl>'


def folded(title: str, content: str, *, opened: bool = False) -> str:
    """Return a fold that opens on a click; the content is HTML already."""
    state = ' open' if opened else ''
    return (
        f'<details class="fold"{state}><summary>{escape(title)}</summary>'
        f'{content}</details>'
    )


def paragraph(text: str, kind: str = '') -> str:
    """Return a line of text."""
    own = f' class="{escape(kind)}"' if kind else ''
    return f'<p{own}>{escape(text)}</p>'


def section(name: str, title: str, content: str) -> str:
    """Return a part of the page that the table of contents leads to."""
    return (
        f'<section id="{escape(name)}" aria-labelledby="{escape(name)}-h">'
        f'<h2 id="{escape(name)}-h">{escape(title)}</h2>\n{content}\n'
        '</section>'
    )


def page(*, title: str, main: str, data: Any, sheets: Sequence[str]) -> str:
    """Return the whole page: style, script, data and pictures are inside.

    Its content policy lets nothing be fetched, and no script run but ours.

    Args:
        title: Title, as text.
        main: Main part, as HTML.
        data: Data of the explorer.
        sheets: Pictures as data URIs.
    """
    script = _template('report.js')
    digest = hashlib.sha256(script.encode('utf-8')).digest()
    pictures = '\n'.join(
        f'.sheet{place}{{background-image:url({sheet})}}'
        for place, sheet in enumerate(sheets)
    )
    slots = dict(
        title=escape(title),
        style=_template('report.css'),
        sheets=pictures,
        main=main,
        data=script_json(data),
        script=script,
        digest=base64.b64encode(digest).decode('ascii'),
    )
    return _SLOT.sub(lambda m: slots[m[1]], _template('report.html'))


def _template(name: str) -> str:
    folder = resources.files('ahpcl.visualization') / 'templates'
    return (folder / name).read_text('utf-8')


def _head(name: str, column: Sequence[Any]) -> str:
    right = any(isinstance(value, int | float) for value in column)
    kind = ' class="number"' if right else ''
    return f'<th scope="col"{kind}>{escape(name)}</th>'


def _cell(value: Any) -> str:
    kind = ''
    if isinstance(value, int | float) or value is None:
        kind = ' class="number"'
    elif len(str(value)) > _SENTENCE:
        kind = ' class="sentence"'
    return f'<td{kind}>{escape(number(value))}</td>'


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return as_utf8(value)
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
