"""What a run is: its settings, its dates, what it ran with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ahpcl.evaluation.run_data import RunData

from .report_markup import escape, facts, folded, paragraph
from .run_log import RunLog

Pairs = list[tuple[str, Any]]

_VERSIONS = ('torch', 'mmengine', 'mmcv-lite', 'mmcls', 'mmselfsup')
_ENVIRONMENT = re.compile(
    r'^\s{4}(Python|PyTorch|CUDA available|GPU [\d,]+|TorchVision|MMEngine|'
    r'seed|Distributed training|GPU number): (.+)$'
)
_STAMP = re.compile(r'(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)(\d\d)')


def run_summary(run: RunData, log: RunLog | None, work_dir: Path) -> str:
    """Return HTML that says what a run is.

    Args:
        run: Its checkpoint.
        log: Log of the run; None where there is none.
        work_dir: Work folder of the run.
    """
    meta = run.content.get('meta') or {}
    training = run.training
    labelled = int((training.labels >= 0).sum())
    classes = len(training.labels[training.labels >= 0].unique())
    whole: Pairs = [
        ('work folder', str(work_dir)),
        ('checkpoint', str(run.checkpoint)),
        ('epoch of the checkpoint', meta.get('epoch')),
        ('iterations', meta.get('iter')),
        ('begun', _date(str(meta.get('experiment_name', '')))),
        ('checkpoint written', _date(str(meta.get('time', '')))),
        ('training images', training.num_images),
        ('to those of the checkpoint', _changes(run)),
        (
            'of them with a label',
            f'{labelled:,}, {classes:,} classes' if labelled else 'none',
        ),
        (
            'prototypes (K)',
            ', '.join(map(str, run.hierarchy.num_clusters))
            + ('' if run.own_prototypes else ', of a fresh k-means'),
        ),
    ]
    if log is not None:
        whole.append(('epochs in the log', len(log.epochs) or None))
        whole.append(('parts of the log', len(log.files)))
    environment = _environment(log)
    versions = [paragraph('of this report'), facts(_installed())]
    if environment:
        versions += [paragraph('of the run, by its log'), facts(environment)]
    parts = [
        facts(whole),
        folded('Settings', facts(config_summary(run.config))),
        folded('Versions', '\n'.join(versions)),
        folded(
            'Full config',
            f'<pre tabindex="0">{escape(run.config.pretty_text)}</pre>',
        ),
    ]
    return '\n'.join(parts)


def config_summary(config: Config) -> Pairs:
    """Return the settings that tell runs apart; those absent are left out."""
    hook: Any = {}
    for found in config.get('custom_hooks') or []:
        if found.get('ladder') is not None:
            hook = found
    batch = _at(config, 'train_dataloader', 'batch_size')
    pairs = [
        ('method', _at(config, 'model', 'type')),
        ('backbone', _kind(config, 'model', 'backbone', detail='depth')),
        ('neck', _kind(config, 'model', 'neck')),
        ('head', _kind(config, 'model', 'head')),
        ('temperature', _at(config, 'model', 'head', 'temperature')),
        ('queue', _at(config, 'model', 'queue_len')),
        ('epochs', _at(config, 'train_cfg', 'max_epochs')),
        ('batch size', batch),
        (
            'optimizer',
            _kind(config, 'optim_wrapper', 'optimizer', detail='lr'),
        ),
        ('precision', _at(config, 'optim_wrapper', 'type')),
        ('images', _kind(config, 'train_dataloader', 'dataset')),
        ('in', _text(_at(config, 'train_dataloader', 'dataset', 'data_root'))),
        ('clustering', _kind(hook, 'clustering')),
        ('linkage', _at(hook, 'linkage')),
        ('warm-up epochs', _at(hook, 'warmup_epochs')),
        ('policy', _kind(hook, 'policy')),
        ('rungs of the ladder', _list(_at(hook, 'ladder', 'rungs'))),
        ('rungs in use', _at(hook, 'ladder', 'window')),
    ]
    return [(name, value) for name, value in pairs if value is not None]


def _at(node: Any, *path: str) -> Any:
    """Return a setting, or None where the way to it ends."""
    for name in path:
        if not isinstance(node, Mapping | Config):
            return None
        node = node.get(name)
    return node


def _kind(node: Any, *path: str, detail: str = '') -> str | None:
    """Return the type of a component, with one of its settings."""
    found = _at(node, *path)
    kind = _at(found, 'type')
    if kind is None:
        return None
    name = kind if isinstance(kind, str) else kind.__name__
    value = _at(found, detail) if detail else None
    return name if value is None else f'{name}, {detail} {value}'


def _changes(run: RunData) -> str | None:
    """Say what has become of the images that were clustered."""
    if not run.own_prototypes or run.changes is None or run.changes.none:
        return None
    return run.changes.describe()


def _list(values: Any) -> str | None:
    if not isinstance(values, list | tuple):
        return None
    return ', '.join(map(str, values))


def _text(value: Any) -> Any:
    """Return several folders as text; all else as it is."""
    return _list(value) or value


def _date(text: str) -> str | None:
    found = _STAMP.search(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = found.groups()
    return f'{year}-{month}-{day} {hour}:{minute}:{second}'


def _installed() -> Pairs:
    found: Pairs = []
    for name in ('ahpcl', *_VERSIONS):
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def _environment(log: RunLog | None) -> Pairs:
    """Read what mmengine wrote of its environment at the start of the run."""
    if log is None:
        return []
    found: dict[str, str] = {}
    folder = log.files[-1].parent.parent
    for path in sorted(folder.glob('*.log')):
        for line in path.read_text('utf-8', 'replace').splitlines():
            match = _ENVIRONMENT.match(line)
            if match:
                found.setdefault(match[1], match[2])
    return list(found.items())
