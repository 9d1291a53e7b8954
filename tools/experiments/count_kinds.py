#!/usr/bin/env python
r"""How many kinds are there? Our count beside others, where truth is known.

  python tools/experiments/count_kinds.py --made
  python tools/experiments/count_kinds.py --pixels digits tin5 tin10 tin20 \
      cifar10
  python tools/experiments/count_kinds.py --run 'digits, epoch 30' \
      configs/ahpcl_digits.py work_dirs/ahpcl_digits/epoch_30.pth
  python tools/experiments/count_kinds.py --table

Adds rows to docs/results/count_kinds.json (a set that is there is left as it
is: delete its line to measure it again) and prints them; --table prints the
table of docs/how_many_clusters.md.
Beside `ahpcl.core.metrics.count_kinds`: the best silhouette and the gap
statistic over the same candidates, and the counts that FINCH gives.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _paths  # noqa: F401  # isort: skip
import _threads  # noqa: F401  # isort: skip  (before torch)
import torch
import torch.nn.functional as F
from _counting import Mixture, by_finch, by_gap, by_silhouette, draw
from torch import Tensor

from ahpcl.core.metrics import CountSettings, count_kinds
from ahpcl.core.metrics.count_evidence import candidate_counts
from ahpcl.utils.atomic_write import atomic_write

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'docs' / 'results' / 'count_kinds.json'
WIDTH, NUMBER = 64, 1500
MOST = 2000  # images, for all methods
SIDE = 16  # of images whose pixels are features
# Noise of every coordinate, and numbers of kinds.
MADE = {'near': (0.14, (2, 5, 10, 30)), 'overlapping': (0.2, (10, 30))}
NEAR_ENOUGH = 0.2


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--made',
        nargs='*',
        metavar='WORD',
        help='mixtures, or those whose names hold one of these words',
    )
    parser.add_argument('--pixels', nargs='+', default=[], metavar='SET')
    parser.add_argument(
        '--run',
        nargs=3,
        action='append',
        default=[],
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
    )
    parser.add_argument('--table', action='store_true')
    parser.add_argument('--out', default=str(RESULTS))
    return parser.parse_args(argv)


def compare(name: str, truth: Sequence[int], rows: Tensor) -> dict[str, Any]:
    """A row of the table: all methods on one set."""
    rows = F.normalize(evenly(rows, MOST).float(), dim=1)
    settings = CountSettings()
    start = time.process_time()
    found = count_kinds(rows, settings)
    seconds = time.process_time() - start
    best = found.best
    most = min(settings.max_kinds, len(rows) // settings.images_per_kind)
    counts = candidate_counts(most, settings.ratio)
    return dict(
        set=name,
        truth=list(truth),
        images=len(rows),
        width=rows.shape[1],
        number=found.number,
        best=best.clusters if best else None,
        interval=found.interval,
        agreement=best.agreement if best else None,
        silhouette_there=best.silhouette if best else None,
        support=best.support if best else None,
        by_agreement=_by_agreement(found.candidates),
        reason=found.reason,
        notes=found.notes,
        cpu_seconds=round(seconds, 1),
        silhouette=by_silhouette(rows, counts),
        gap=by_gap(rows, counts),
        finch=by_finch(rows),
    )


def _by_agreement(candidates: Sequence[Any]) -> int | None:
    """The variant without silhouettes: excess of agreement alone."""
    return max(
        candidates,
        key=lambda own: own.agreement - own.expected_agreement,
        default=argparse.Namespace(clusters=None),
    ).clusters


def evenly(rows: Tensor, most: int) -> Tensor:
    """At most so many rows, spread evenly."""
    if len(rows) <= most:
        return rows
    return rows[torch.arange(most) * len(rows) // most]


def made_sets() -> list[tuple[str, list[int], Tensor]]:
    """Mixtures of known numbers of kinds, and clouds without kinds."""
    sets = []
    for how, (noise, numbers) in MADE.items():
        for kinds in numbers:
            rows = draw(Mixture(kinds, noise), NUMBER, WIDTH, 10 * kinds)
            sets.append((f'{kinds} kinds, {how}', [kinds], rows))
    rows = draw(Mixture(10, 0.14, uneven=True), NUMBER, WIDTH, 1)
    sets.append(('10 uneven kinds, near', [10], rows))
    sets.append(('one cloud', [1], draw(Mixture(1, 0.14), NUMBER, WIDTH, 2)))
    source = torch.Generator().manual_seed(3)
    scales = 0.85 ** torch.arange(WIDTH)
    cloud = torch.randn(NUMBER, WIDTH, generator=source) * scales
    sets.append(('one long cloud', [1], F.normalize(cloud + 1.5, dim=1)))
    return sets


def pixel_set(name: str) -> tuple[str, list[int], Tensor]:
    """Small images as features, their mean taken out: (N, D)."""
    if name == 'digits':
        from sklearn.datasets import load_digits

        data = load_digits()
        rows = torch.tensor(data.data).float()
        return 'digits, pixels', [10], rows - rows.mean(0)
    files, classes = image_files(name)
    rows = torch.stack([_small(file) for file in files])
    title = 'CIFAR-10' if name == 'cifar10' else f'TIN, {classes} classes'
    return f'{title}, pixels', [classes], rows - rows.mean(0)


def image_files(name: str) -> tuple[list[Path], int]:
    """Files of CIFAR-10, or of the first classes of TIN-100, in turn."""
    data = ROOT / 'data'
    if name == 'cifar10':
        folders = sorted((data / 'cifar10' / 'train').glob('[!.]*'))
        by_class = [sorted(own.iterdir())[: MOST // 10] for own in folders]
    else:
        number = int(name.removeprefix('tin'))
        rows = (data / 'tin100' / 'train.csv').read_text().splitlines()[1:]
        files: dict[str, list[Path]] = {}
        for row in rows:
            file, label = row.split(',')
            files.setdefault(label, []).append(
                data / 'tin100' / 'images' / file
            )
        labels = sorted(files)[:number]
        by_class = [files[own][: MOST // number] for own in labels]
    return [file for own in by_class for file in own], len(by_class)


def _small(file: Path) -> Tensor:
    from ahpcl.datasets.decode import read_rgb

    image = torch.from_numpy(read_rgb(file).copy()).permute(2, 0, 1).float()
    return F.adaptive_avg_pool2d(image, SIDE).flatten()


def run_set(
    name: str, config: str, checkpoint: str
) -> tuple[str, list[int], Tensor]:
    """Training images of a run, in the space of its prototypes."""
    import _oracle  # noqa: F401  (registers what rows with labels use)
    from mmengine.config import Config

    import ahpcl  # noqa: F401  (patches mmselfsup before a config is read)
    from ahpcl.evaluation.prototype_quality import true_labels
    from ahpcl.evaluation.run_data import RunData

    run = RunData(
        Config.fromfile(config), None if checkpoint == '-' else checkpoint
    )
    truths = [
        len(labels[labels >= 0].unique())
        for labels in true_labels(run).values()
        if labels is not None
    ]
    # A set in the order of its classes is thinned evenly, too.
    return name, sorted(truths), run.kind_rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown; bold: within 20 % of a truth."""
    lines = [
        '| set | kinds | our count | its best guess | interval | halves agree '
        '| silhouette | gap statistic | FINCH |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        truth = row['truth']
        interval = row['interval'] or ('-', '-')
        cells = [
            row['set'],
            ' / '.join('none' if n == 1 else str(n) for n in truth),
            'not determined'
            if row['number'] is None
            else _marked(row['number'], truth),
            _marked(row['best'], truth),
            f'{interval[0]} to {interval[1]}',
            f'{row["agreement"]:.2f}',
            _marked(row['silhouette'], truth),
            _marked(row['gap'], truth),
            ', '.join(_marked(n, truth) for n in row['finch']),
        ]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def _marked(number: int, truth: Sequence[int]) -> str:
    near = any(abs(number - n) <= NEAR_ENOUGH * n for n in truth)
    return f'**{number}**' if near else str(number)


def read(path: Path) -> list[dict[str, Any]]:
    """Rows that were measured before."""
    return json.loads(path.read_text('utf-8')) if path.is_file() else []


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes."""
    args = parse_args(argv)
    out = Path(args.out)
    sets: list[Any] = []
    if args.made is not None:
        sets += [
            own
            for own in made_sets()
            if any(word in own[0] for word in args.made or [''])
        ]
    sets += [pixel_set(name) for name in args.pixels]
    sets += [run_set(*own) for own in args.run]
    for name, truth, rows in sets:
        if any(own['set'] == name for own in read(out)):
            continue
        row = compare(name, truth, rows)
        print(json.dumps(row), flush=True)
        lines = ',\n '.join(json.dumps(own) for own in [*read(out), row])
        with atomic_write(out) as beside:
            beside.write_text(f'[{lines}]\n', 'utf-8')
    if args.table:
        print(table(read(out)))


if __name__ == '__main__':
    main()
