#!/usr/bin/env python
"""Render docs/benchmarks/README.md from the JSONs beside it.

python tools/benchmarks/tables.py            # write it
python tools/benchmarks/tables.py --check    # fail if it is not up to date

A block `<!-- begin NAME -->` to `<!-- end NAME -->` is NAME.json: the command,
the machine and the table; or it says that this was not measured. `goals` is
made from all of them. The rest of the page is left as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import estep
import scale
import scaling
import throughput
from _goals import goals
from _provenance import ROOT
from _tables import fill, markdown

PAGE = ROOT / 'docs' / 'benchmarks' / 'README.md'
NONE = '**Not measured.**'
_GPU, NO_GPU = 'gpu_check/', '**Not measured: it has not run on a GPU yet.**'
_GOALS = 'goals'
CLUSTERING = dict(
    clusters=('K', 'd'),
    name=('engine', ''),
    search_seconds=('one search, s', '.3f'),
    search_ratio=('times as fast', '.1f'),
    rate_share=('share of the bf16 rate', '.2f'),
    agreement=('as exact, %', '.2f'),
    seconds=('k-means, s', '.2f'),
    ratio=('times as fast', '.1f'),
    objective=('objective', '.4f'),
    extra_mib=('extra MiB', '.0f'),
    error=('', ''),
)
STEP = dict(
    name=('step', ''),
    rate=('images/s', '.0f'),
    ratio=('ratio', '.2f'),
    workers=('workers', 'd'),
    waiting=('waiting for data, %', '.1f'),
    step_ms=('step, ms', '.1f'),
    first_step=('first step, s', '.1f'),
    estep=('E-step, %', '.1f'),
    peak_mib=('peak MiB', '.0f'),
    error=('', ''),
)
METHODS = dict(
    name=('method', ''),
    loss=('loss', ''),
    where=('must fall', ''),
    first=('first', '.3f'),
    last=('last', '.3f'),
    took=('s', '.0f'),
    error=('', ''),
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--check', action='store_true', help='write nothing')
    parser.add_argument(
        '--page', type=Path, default=PAGE, help='beside it are the JSONs'
    )
    return parser.parse_args(argv)


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """A measurement; None where there is none, or one of small sizes."""
    path = folder / f'{name}.json'
    if not path.is_file():
        return None
    found = json.loads(path.read_text('utf-8'))
    return None if found.get('settings', {}).get('small') else found


def setting(report: Mapping[str, Any]) -> str:
    """The command, the machine, the commit and what the machine can do.

    Args:
        report: A measurement.
    """
    known = report.get('machine', {})
    settings, rates = report.get('settings', {}), report.get('rates', {})
    device, cpu = known.get('device'), known.get('cpu')
    parts = [f'{cpu}, {known.get("cpu_cores")} cores']
    if device not in (None, cpu):
        parts.insert(0, str(device))
    if settings.get('threads') is not None:
        parts.append(f'{settings["threads"]} thread(s)')
    versions = {'Python': known.get('python')}
    versions |= {k: known[k] for k in ('torch', 'mmselfsup') if k in known}
    versions |= known.get('libraries', {})
    text = f'{", ".join(parts)}; '
    text += ', '.join(f'{name} {found}' for name, found in versions.items())
    commit = report.get('source', {}).get('commit')
    if commit:
        text += f'; commit {commit[:7]}'
    found = []
    for name, rate in rates.items():
        if name == 'copy':
            found.append(f'copies at {rate / 1e9:.0f} GB/s')
        else:
            kind = 'matrix products' if name == 'matmul' else name
            found.append(f'{kind} at {_flops(rate)}')
    if found:
        text += f'. It does {", ".join(found)}'
    command = known.get('command')
    fence = f'```bash\npython tools/benchmarks/{command}\n```\n\n'
    return f'{fence if command else ""}{text}.\n\n'


def _flops(rate: float) -> str:
    if rate >= 1e12:
        return f'{rate / 1e12:.0f} TFLOP/s'
    return f'{rate / 1e9:.0f} GFLOP/s'


def estep_table(report: Mapping[str, Any]) -> str:
    """Of `estep.py`."""
    return markdown(report['rows'], estep.COLUMNS)


def scale_table(report: Mapping[str, Any]) -> str:
    """Of `scale.py`."""
    known = report['settings']
    return (
        f'{known["points"]:,} x {known["dims"]}, K = {known["clusters"]}; '
        f'rates were measured beforehand, with {known["sample"]:,} points of '
        'a process and as many processes as work at once.\n\n'
        f'{markdown(report["rows"], scale.COLUMNS)}'
    )


def scaling_table(report: Mapping[str, Any]) -> str:
    """Of `scaling.py`."""
    return markdown(report['rows'], scaling.COLUMNS)


def throughput_table(report: Mapping[str, Any]) -> str:
    """Of `throughput.py`, with the shares of the E-step."""
    kinds = [_share(kind, v) for kind, v in report['estep_share'].items()]
    table = markdown(report['rows'], throughput.COLUMNS)
    text = f'{table}\n\nE-step, share of the epoch: {"; ".join(kinds)}.'
    split, whole = (report.get(f'{k}norm_share') for k in ('', 'whole_'))
    if split is not None and whole is not None:
        text += (
            f' Split batch norm, share of the step: {split:.1f} %; '
            f"torch's own of whole batches in its place: {whole:.1f} %."
        )
    return text


def _share(kind: str, value: float | Mapping[str, float]) -> str:
    if isinstance(value, float):  # as it was written at first
        return f'{kind}: {value:.1f} %'
    return (
        f'{kind}: {value["share"]:.1f} %, of it clustering '
        f'{value["clustering"]:.1f} %'
    )


def tests_table(report: Mapping[str, Any]) -> str:
    """Of the tests marked `gpu`."""
    rows = report['rows']
    lines = []
    for outcome in ('passed', 'failed', 'skipped'):
        lines.append(f'{sum(r["outcome"] == outcome for r in rows)} {outcome}')
    failed = [f'- `{r["name"]}`' for r in rows if r['outcome'] == 'failed']
    skipped = [
        f'- `{r["name"]}` skipped: {r["reason"]}'
        for r in rows
        if r['outcome'] == 'skipped'
    ]
    return '\n'.join([f'{", ".join(lines)}.', '', *failed, *skipped]).rstrip()


def clustering_table(report: Mapping[str, Any]) -> str:
    """Of clustering on a GPU."""
    known = report['settings']
    rows = [
        dict(row, error=_why(row)) if _why(row) else row
        for row in report['rows']
    ]
    timed = {row.get('iterations_timed') for row in rows} - {None}
    return (
        f'{known["points"]:,} x {known["dims"]} points; k-means: '
        f'{known["warm_iterations"]} iterations from the centroids of the '
        'epoch before. Of the recipe (20 iterations, 5 starts) '
        f'{", ".join(map(str, sorted(timed))) or "no"} iterations were timed '
        f'and the rest multiplied. `flash` is: {report.get("flash")}.\n\n'
        f'{markdown(rows, CLUSTERING)}'
    )


def _why(row: Mapping[str, Any]) -> str:
    return row.get('error') or row.get('unavailable') or ''


def step_table(report: Mapping[str, Any]) -> str:
    """Of the training step on a GPU."""
    rows = []
    for row in report['rows']:
        if 'rate' not in row and 'error' not in row:
            continue  # the rendering
        shares = row.get('estep_share', {})
        kind = f'as configured, {row.get("features")}'
        found = dict(estep=shares[kind]['share']) if kind in shares else {}
        rows.append(row | found)
    known = report['settings']
    images = known['data'] or (
        f'{known["images"]:,} rendered JPEGs of {known["side"]} px'
    )
    return (
        f'`{known["config"]}`, batches of {known.get("batch_size")}, '
        f'{images}.\n\n{markdown(rows, STEP)}'
    )


def methods_table(report: Mapping[str, Any]) -> str:
    """Of the methods in bfloat16."""
    known = report['settings']
    return (
        f'{known["epochs"]} epochs of {known["images"]:,} rendered images of '
        f'{known["side"]} px in batches of {known["batch"]}.\n\n'
        f'{markdown(report["rows"], METHODS)}'
    )


TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    'estep': estep_table,
    'scale': scale_table,
    'scaling': scaling_table,
    'throughput': throughput_table,
    'gpu_check/tests': tests_table,
    'gpu_check/clustering': clustering_table,
    'gpu_check/step': step_table,
    'gpu_check/methods': methods_table,
}


def block(folder: Path, name: str) -> str:
    """The text of a block.

    Args:
        folder: With the JSONs.
        name: Of the block.

    Raises:
        ValueError: If there is no such block.
    """
    if name == _GOALS:
        return goals(lambda known: read(folder, known)) + '\n'
    table = TABLES.get(name) or TABLES.get(name.partition('_')[0])
    if table is None:
        raise ValueError(
            f'expected a block {_GOALS} or one that begins with '
            f'{", ".join(TABLES)}, got {name!r}'
        )
    report = read(folder, name)
    if report is None:
        return f'{NO_GPU if name.startswith(_GPU) else NONE}\n'
    text = setting(report)
    if report.get('status', 'ok') != 'ok':
        text += (
            f'**{report["status"]}** after {report.get("seconds", 0):.0f} of '
            f'{report.get("budget", 0):.0f} s. '
        )
    if 'error' in report:
        text += f'It ended with:\n\n```\n{report["error"]}\n```\n\n'
    if not report['rows']:
        return f'{text.rstrip()}\n'
    return f'{text}{table(report)}\n'


def main(argv: Sequence[str] | None = None) -> int:
    """Render the page.

    Returns:
        Exit status: 1 if ``--check`` found another page.
    """
    args = parse_args(argv)
    before = args.page.read_text('utf-8')
    after = fill(before, lambda name: block(args.page.parent, name))
    if not args.check:
        args.page.write_text(after, 'utf-8')
    elif before != after:
        print(f'{args.page} is not what the JSONs say: run this tool')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
