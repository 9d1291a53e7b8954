"""How good a run is, as parts of a report: evaluations and clusters."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

from ahpcl.evaluation.prototype_quality import prototype_quality
from ahpcl.evaluation.run_data import RunData

from .report_charts import size_chart
from .report_markup import escape, folded, paragraph, table

_HEADS = {
    'clusters': 'K',
    'nmi': 'NMI',
    'ami': 'AMI',
    'ari': 'ARI',
    'hungarian': 'Hungarian %',
    'purity': 'purity %',
    'size_min': 'smallest',
    'size_median': 'median',
    'size_max': 'largest',
    'phi_min': 'smallest φ',
    'phi_max': 'largest φ',
}


def evaluations(run: RunData, work_dir: Path, config: Path) -> str:
    """Return tables of what ``evaluate.py`` wrote, the checkpoint's first.

    Args:
        run: A checkpoint.
        work_dir: Work folder, which may have a folder ``evaluation``.
        config: Config of the run, for the command that makes them.
    """
    found = sorted((work_dir / 'evaluation').glob('*.json'))
    own: list[str] = []
    others: list[str] = []
    for path in found:
        content = _read(path)
        if content is None:
            others.append(
                paragraph(f'{path.name}: not an evaluation, or a damaged one')
            )
            continue
        of_it = os.path.basename(str(content.get('checkpoint'))) == run.name
        (own if of_it else others).append(_metrics(path, content))
    parts = list(own)
    if not own:
        parts.append(
            paragraph(
                f'{run.name} has not been evaluated here. To add tables of '
                'kNN, linear, few-shot and clustering, run this and write '
                'the report again:'
            )
        )
        names = (config, run.checkpoint)
        files = ' '.join(shlex.quote(str(name)) for name in names)
        command = f'python tools/evaluate.py {files}'
        parts.append(f'<pre tabindex="0">{escape(command)}</pre>')
    if others:
        parts.append(
            folded('Evaluations of other checkpoints', '\n'.join(others))
        )
    return '\n'.join(parts)


def clusters(run: RunData) -> str:
    """Return tables of every level, and the sizes of its clusters."""
    quality = prototype_quality(run)
    rows = quality['levels']
    names = list(dict.fromkeys(name for row in rows for name in row))
    labelled = any('nmi' in row for row in rows)
    if not labelled:
        names.remove('truth')
    parts = []
    if not run.own_prototypes:
        parts.append(
            paragraph(
                f'{run.name} holds no prototypes: its method has none, or '
                'it is of the warm-up. All that follows is of a fresh '
                'k-means of its features.',
                'warning',
            )
        )
    parts.append(
        table(
            [_HEADS.get(name, name.replace('_', ' ')) for name in names],
            [[row.get(name) for name in names] for row in rows],
            caption='Prototypes of every level on the '
            f'{quality["images"]:,} training images, the finest first',
        )
    )
    if not labelled:
        parts.append(
            paragraph(
                'The training images have no labels: agreement with classes '
                'is unknown.',
                'note',
            )
        )
    if quality['agreement']:
        counts = run.hierarchy.num_clusters
        parts.append(
            table(
                ('K', 'with K', 'NMI', 'AMI', 'ARI', 'nested %'),
                [
                    (
                        counts[row['fine']],
                        counts[row['coarse']],
                        *(row[name] for name in ('nmi', 'ami', 'ari')),
                        row['nested'],
                    )
                    for row in quality['agreement']
                ],
                caption='Agreement of levels; nested: images in the parent '
                'of their cluster',
            )
        )
    parts.append(
        '<h3>Images per cluster</h3>'
        + paragraph('Up: clusters. Dashed: the median.', 'note')
        + '<div class="charts">'
    )
    parts += [size_chart(level.sizes()) for level in run.hierarchy.levels]
    parts.append('</div>')
    return '\n'.join(parts)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text('utf-8'))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    return content if isinstance(content.get('metrics'), dict) else None


def _metrics(path: Path, content: dict[str, Any]) -> str:
    metrics = content['metrics']
    rows = []
    for name, value in metrics.items():
        base = name.removesuffix('_ci95').removesuffix('_std')
        if base != name and base in metrics:
            continue  # shown beside it
        spread = ''
        for ending, sign in (('_ci95', '±'), ('_std', 'std')):
            if isinstance(metrics.get(f'{name}{ending}'), int | float):
                spread = f'{sign} {metrics[f"{name}{ending}"]:.2f}'
        rows.append((name, value, spread))
    details = [path.stem]
    for name in ('images', 'queries', 'classes', 'seen_classes'):
        if content.get(name) is not None:
            details.append(f'{name.replace("_", " ")} {content[name]}')
    return table(
        ('metric', 'value', 'spread'), rows, caption=', '.join(details)
    )
