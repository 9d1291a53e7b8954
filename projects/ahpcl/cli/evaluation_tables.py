"""Tables of an evaluation for a terminal, a file or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ahpcl.core.metrics import KindCount

SCORES = (
    *('nmi', 'ami', 'ari', 'hungarian', 'purity', 'pair_precision'),
    'silhouette',
)
# Wider than any table: a line that a terminal cannot show whole is for it to
# break, so that numbers and paths can still be copied and searched for.
WIDTH = 10_000


def print_tables(results: dict[str, Any], file: TextIO | None = None) -> None:
    """Prints all tables of an evaluation.

    Args:
        results: What :func:`ahpcl.evaluation.evaluate.evaluate` returns.
        file: To print to; None for the standard output.
    """
    console = Console(
        file=file or sys.stdout,
        width=WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
    )
    for title, table in tables_of(results):
        console.print(Text(f'\n{title}', style='italic'))
        console.print(table)


def tables_of(results: dict[str, Any]) -> Iterator[tuple[str, Table]]:
    """Title and table of everything that was measured."""
    yield metric_title(results), metric_table(results)
    if 'prototypes' in results:
        quality = results['prototypes']
        yield prototype_title(quality), prototype_table(quality)
        if quality['agreement']:
            title = (
                'agreement of levels; nested: images in the cluster that '
                'most of their finer cluster are in, %'
            )
            yield title, agreement_table(quality)
    if 'kinds' in results:
        yield kinds_title(results['kinds']), kinds_table(results['kinds'])


def kinds_title(kinds: dict[str, Any]) -> str:
    """How many kinds there are, and why."""
    found = KindCount(**kinds)
    return '; '.join((f'kinds: {found.describe()}', *found.notes))


def kinds_table(kinds: dict[str, Any]) -> Table:
    """Every candidate number of kinds, with its evidence."""
    table = make_table()
    heads = dict(
        clusters='K',
        support='support',
        agreement='halves agree',
        expected_agreement='without structure',
        silhouette='silhouette',
        expected_silhouette='without structure',
        restarts='restarts agree',
        tightness='tightness',
        views='grey',
    )
    for head in heads.values():
        table.add_column(head, justify='right')
    for row in kinds['candidates']:
        table.add_row(*(shown(row[name]) for name in heads))
    return table


def metric_title(results: dict[str, Any]) -> str:
    """What was measured, and on what."""
    seen = results['seen_classes']
    title = f'{results["checkpoint"]}: {results["images"]} images'
    if results['classes']:
        title += (
            f', {results["queries"]} of them tested, {results["classes"]} '
            f'classes, {seen or "none"} of them among the training images'
        )
    return title


def metric_table(results: dict[str, Any]) -> Table:
    """Every metric, with its interval where it has one."""
    table = make_table('metric')
    table.add_column('value', justify='right')
    metrics = results['metrics']
    for name, value in metrics.items():
        base = name.removesuffix('_ci95').removesuffix('_std')
        if base != name and base in metrics:
            continue  # shown beside it
        text = shown(value)
        if f'{name}_ci95' in metrics:
            text += f' +- {metrics[f"{name}_ci95"]:.2f}'
        elif f'{name}_std' in metrics:
            text += f' (std {metrics[f"{name}_std"]:.2f})'
        table.add_row(name, text)
    return table


def prototype_title(quality: dict[str, Any]) -> str:
    """Whose prototypes they are, and of which images."""
    whose = 'prototypes of the last E-step'
    if not quality['own']:
        whose = 'a fresh k-means, as the checkpoint has no prototypes'
    return f'{whose}, on {quality["images"]} training images'


def prototype_table(quality: dict[str, Any]) -> Table:
    """Every level of the hierarchy on the training images."""
    scores = [
        name for name in SCORES if any(name in r for r in quality['levels'])
    ]
    table = make_table()
    for name in ('K', 'truth', *scores, 'sizes', 'empty', 'phi'):
        table.add_column(name, justify='right')
    for row in quality['levels']:
        table.add_row(
            str(row['clusters']),
            row['truth'],
            *(shown(row.get(name)) for name in scores),
            f'{row["size_min"]} / {row["size_median"]:g} / {row["size_max"]}',
            str(row['empty']),
            f'{row["phi_min"]:.3f} - {row["phi_max"]:.3f}',
        )
    return table


def agreement_table(quality: dict[str, Any]) -> Table:
    """Every pair of levels."""
    table = make_table()
    for name in ('K', 'with K', 'nmi', 'ami', 'ari', 'nested'):
        table.add_column(name, justify='right')
    counts = list(dict.fromkeys(r['clusters'] for r in quality['levels']))
    for row in quality['agreement']:
        table.add_row(
            str(counts[row['fine']]),
            str(counts[row['coarse']]),
            *(shown(row[name]) for name in ('nmi', 'ami', 'ari', 'nested')),
        )
    return table


def make_table(*columns: str) -> Table:
    """An empty table, as narrow as can be."""
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)


def shown(value: Any) -> str:
    """Counts whole, small numbers to three places, percentages to two."""
    if not isinstance(value, float):
        return '-' if value is None else str(value)
    return f'{value:.3f}' if abs(value) <= 1.5 else f'{value:.2f}'
