"""The rows of the experiments, as configs/experiments/plan.yml lists them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import _paths  # noqa: F401  # isort: skip
import yaml
from mmengine.config import Config, ConfigDict

from ahpcl.cli.configs import read_variant

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'experiments'
SCALES = CONFIGS / 'scale'
PLAN = CONFIGS / 'plan.yml'
COSTS = ROOT / 'docs' / 'results' / 'epoch_cost.json'
PARTS = ('val', 'test')

# What decides a result. The rest of a config (hooks that save and log, the
# number of workers, caches, folders) may change without another run.
_DECISIVE = (
    'model',
    'train_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'custom_hooks',
    'val_dataloader',
    'test_dataloader',
    'fewshot_dataloader',
    'evaluation',
    'replay',
)
_INDIFFERENT = {
    'data_root',
    'decoded_cache',
    'num_workers',
    'persistent_workers',
    'pin_memory',
    'val_interval',
    'scan',
    'constructor',  # GroupedConstructor's training is the same bit for bit
}


@dataclass(frozen=True)
class Row:
    """One run: a config, a seed, and the part that it is measured on.

    Attributes:
        scale: Protocol: a file of ``configs/experiments/scale``.
        variant: Name of the config with its options.
        config: See `read_config`.
        seed: Seed of the run.
        part: 'val' where choices are made, 'test' for the final table.
        question: That it was first listed under.
        options: Changes to the config, by dotted name.
        planned: Digest of the config when the row was planned; None before.
        start_from: ``VARIANT@EPOCH``: the row goes on from that checkpoint of
            the row of this variant, with the same scale, seed and part.
        equal_time_with: Variant whose E-steps' time the row gets as more
            epochs, by the benchmarked cost.
    """

    scale: str
    variant: str
    config: str
    seed: int
    part: str
    question: str
    options: Mapping[str, Any] = field(default_factory=dict)
    planned: str | None = None
    start_from: str | None = None
    equal_time_with: str | None = None

    @property
    def name(self) -> str:
        """Such as ``cpu/ahpcl/0`` or ``cpu/ahpcl/7/test``."""
        name = f'{self.scale}/{self.variant}/{self.seed}'
        return name if self.part == 'val' else f'{name}/{self.part}'

    def read(self) -> Config:
        """The config of the row, seed and work folder included."""
        config = _changed(self.config, self.scale, self.options)
        config.randomness = ConfigDict(seed=self.seed)
        if self.equal_time_with is not None:
            config.train_cfg.max_epochs = bought_epochs(
                config.train_cfg.max_epochs, self.scale, self.equal_time_with
            )
        return config

    def wrapper(self) -> str | None:
        """Type of the optimizer's wrapper, which decides on the precision."""
        return (self.read().get('optim_wrapper') or {}).get('type')

    def digest(self) -> str:
        """Of all that decides the result but the seed and the part."""
        options = json.dumps(dict(self.options), sort_keys=True)
        found = _digest(self.config, self.scale, options)
        more = [self.start_from] if self.start_from else []
        if self.equal_time_with is not None:
            more.append(str(self.read().train_cfg.max_epochs))
        if not more:
            return found
        return hashlib.sha256(' '.join([found, *more]).encode()).hexdigest()[
            :16
        ]

    @property
    def start_from_epoch(self) -> int:
        """The epoch of ``start_from``."""
        assert self.start_from is not None
        return int(self.start_from.rpartition('@')[2])

    def parent(self, rows: Collection[Row]) -> Row:
        """The row whose checkpoint this one starts from.

        Raises:
            ValueError: If there is none such, it is a fork itself, or it does
                not train for so long.
        """
        assert self.start_from is not None
        variant, _, epoch = self.start_from.rpartition('@')
        for row in rows:
            if (row.scale, row.variant, row.seed, row.part) == (
                self.scale,
                variant,
                self.seed,
                self.part,
            ) and row.start_from is None:
                last = row.read().train_cfg.max_epochs
                if not epoch.isdigit() or not 0 < int(epoch) < last:
                    raise ValueError(
                        f'{self.name}: expected start_from with an epoch from '
                        f'1 to {last - 1} of {row.name}, got '
                        f'{self.start_from!r}'
                    )
                return row
        raise ValueError(
            f'{self.name}: expected start_from=VARIANT@EPOCH of a planned row '
            f'of {self.scale} with seed {self.seed} that is no fork itself, '
            f'got {self.start_from!r}; plan that row, too'
        )

    def replay(self) -> Mapping[str, str] | None:
        """Whose advances it replays: ``config`` and ``seed``, or None."""
        return _replay(self.config, self.scale)

    @property
    def key(self) -> tuple[str, str, int, str]:
        """Rows with one key are one run, whatever their names are.

        What was planned counts, not what the config is now: a row that has
        run stays valid when code and configs are given other names.
        """
        return self.scale, self.planned or self.digest(), self.seed, self.part


@dataclass(frozen=True)
class Plan:
    """All rows, the most telling first, and what they are compared by.

    Attributes:
        primary: Metric that choices are made by.
        questions: Text of every question by its letter.
        comparisons: Per question, the variant that the others are compared
            with.
        rows: In the order in which they are run.
        tables: Per question, its variants in the order of the plan.
        controls: Variants that are compared with another one than the rest
            of their question.
        superseded: What no longer counts of the ledger: ``rows``, a pattern
            of names, which ended ``before`` a time, and the ``reason``.
        rivals: Questions whose variants are rivals: their verdicts are
            corrected for as many comparisons (Holm), and differences are
            given unpaired as well.
        ended: Configs whose code is no longer here; their rows do not run.
    """

    primary: str
    questions: dict[str, str]
    comparisons: dict[str, str]
    rows: tuple[Row, ...]
    tables: dict[str, list[str]]
    controls: dict[str, str] = field(default_factory=dict)
    superseded: tuple[Mapping[str, str], ...] = ()
    rivals: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


def read_config(name: str, scale: str) -> Config:
    """A variant of the plan, or another config, at a scale.

    Args:
        name: See `read_variant`.
        scale: Name of a file in ``configs/experiments/scale``.

    Raises:
        ValueError: If there is no such config, or no such scale.
    """
    if not (SCALES / f'{scale}.py').is_file():
        known = sorted(p.stem for p in SCALES.glob('*.py'))
        raise ValueError(
            f'expected a scale of {", ".join(known)}, got {scale!r}'
        )
    logging.disable(logging.INFO)  # a line for every use of the variable
    try:
        return read_variant(name, f'../../experiments/scale/{scale}')
    finally:
        logging.disable(logging.NOTSET)


def read_plan(path: str | os.PathLike[str] = PLAN) -> Plan:
    """Read the plan and check it.

    Every entry of ``rows`` is a mapping: ``question``, ``scale`` (one, or a
    list), ``config`` (one, or a list), ``seeds``, and perhaps ``options`` (a
    mapping, or a list of them: one variant each), ``part``, ``start_from``
    and ``equal_time_with`` (see `Row`).

    Raises:
        ValueError: If an entry is not of this form, two rows are one, or a
            variant's control, one that ended or the row that another starts
            from is no row.
    """
    content = yaml.safe_load(Path(path).read_text('utf-8'))
    planned = read_planned(path)
    questions = content['questions']
    rows: dict[str, Row] = {}
    tables: dict[str, list[str]] = {letter: [] for letter in questions}
    for entry in content['rows']:
        for row in _rows_of(entry):
            if row.question not in questions:
                raise ValueError(
                    f'expected a question of {", ".join(questions)} in {path}'
                    f', got {row.question!r}'
                )
            if row.variant not in tables[row.question]:
                tables[row.question].append(row.variant)
            # One run may answer several questions; it counts where it is
            # listed first.
            row = replace(row, planned=planned.get(row.name))
            rows.setdefault(row.name, row)
    for row in rows.values():
        if row.start_from is not None:
            row.parent(rows.values())
    controls = content.get('controls', {})
    ended = content.get('ended', ())
    for part, names, known in (
        (
            'controls',
            [*controls, *controls.values()],
            {row.variant for row in rows.values()},
        ),
        ('ended', ended, {row.config for row in rows.values()}),
    ):
        for name in names:
            if name not in known:
                raise ValueError(
                    f'expected a variant of the rows of {path} in {part}, got '
                    f'{name!r}'
                )
    return Plan(
        content['primary'],
        questions,
        content.get('comparisons', {}),
        tuple(rows.values()),
        tables,
        controls,
        tuple(content.get('superseded', ())),
        tuple(content.get('rivals', ())),
        tuple(ended),
    )


def read_costs(path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """What `epoch_cost.py` wrote: by scale and variant."""
    path = COSTS if path is None else Path(path)
    return json.loads(path.read_text('utf-8')) if path.is_file() else {}


def bought_epochs(epochs: int, scale: str, variant: str) -> int:
    """Epochs without E-steps in the time of a variant's epochs with them.

    Raises:
        ValueError: If that variant's cost was not measured.
    """
    costs = read_costs().get(scale, {})
    if variant not in costs:
        raise ValueError(
            f'expected the measured cost of {variant!r} at the scale '
            f'{scale!r} in {COSTS}, got none; measure it with '
            f'tools/experiments/epoch_cost.py {scale} {variant}'
        )
    return round(epochs * (1 + costs[variant]['estep_over_steps']))


def planned_file(path: str | os.PathLike[str]) -> Path:
    """The file beside a plan with the digests of its rows."""
    return Path(path).with_suffix('.planned.json')


def read_planned(path: str | os.PathLike[str]) -> dict[str, str]:
    """Digests of the rows of a plan when they were planned, by name."""
    file = planned_file(path)
    if not file.is_file():
        return {}
    return json.loads(file.read_text('utf-8'))


def plan_rows(
    path: str | os.PathLike[str], finished: Collection[str], again: bool
) -> list[str]:
    """Write the digests of a plan's rows.

    Args:
        path: The plan.
        finished: Names of the rows that have run, whose digests stay.
        again: Also of the pending rows whose config is another one now;
            otherwise of those that have none.

    Returns:
        Names of the rows that were planned.
    """
    rows = read_plan(path).rows
    known = read_planned(path)
    found, changed = {}, []
    for row in rows:
        digest = known.get(row.name)
        if digest is None or (again and row.name not in finished):
            digest = row.digest()
        if digest != known.get(row.name):
            changed.append(row.name)
        found[row.name] = digest
    text = json.dumps(found, indent=0, sort_keys=True)
    planned_file(path).write_text(text + '\n', 'utf-8')
    return changed


def _changed(config: str, scale: str, options: Mapping[str, Any]) -> Config:
    """A config with options by dotted name."""
    found = read_config(config, scale)
    if options:
        found.merge_from_dict(dict(options), allow_list_keys=True)
    return found


@cache
def _digest(config: str, scale: str, options: str) -> str:
    """Digest of a config; it is read once per process."""
    found = _changed(config, scale, json.loads(options))
    content = {
        key: _decisive(found.get(key))
        for key in _DECISIVE
        if found.get(key) is not None
    }
    _put_views_into_pipeline(content)
    replay = found.get('replay')
    if replay is not None:  # another config decides, too
        content['replayed'] = _digest(replay['config'], scale, '{}')
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _put_views_into_pipeline(content: dict[str, Any]) -> None:
    """Write the views of a device as version 0.1 did, in place.

    They stood in the pipeline of the data set then, and are the same bit for
    bit, so rows that were planned or have run keep their digests.
    """
    preprocessor = (content.get('model') or {}).get('data_preprocessor') or {}
    if 'views' not in preprocessor:
        return
    views = dict(type='SeededMultiView')
    for name in {'views', 'num_views'} & preprocessor.keys():
        views[name] = preprocessor.pop(name)
    dataset = content['train_dataloader']['dataset']
    load, pack = dataset['pipeline']
    dataset['pipeline'] = [load, views, pack]


@cache
def _replay(config: str, scale: str) -> Mapping[str, str] | None:
    return read_config(config, scale).get('replay')


def _rows_of(entry: Mapping[str, Any]) -> list[Row]:
    needed = {'question', 'scale', 'config', 'seeds'}
    more = {'options', 'part', 'start_from', 'equal_time_with'}
    if set(entry) - needed - more or needed - set(entry):
        raise ValueError(
            'expected question, scale, config and seeds (and perhaps '
            f'{", ".join(sorted(more))}) of a row, got {dict(entry)}'
        )
    part = entry.get('part', 'val')
    if part not in PARTS:
        raise ValueError(f"expected part 'val' or 'test', got {part!r}")
    options = entry.get('options') or [{}]
    if isinstance(options, Mapping):
        options = [options]
    return [
        Row(
            scale=scale,
            variant=_variant(config, changes, entry),
            config=config,
            seed=int(seed),
            part=part,
            question=entry['question'],
            options=changes,
            start_from=entry.get('start_from'),
            equal_time_with=entry.get('equal_time_with'),
        )
        for scale in _listed(entry['scale'])
        for config in _listed(entry['config'])
        for changes in options
        for seed in entry['seeds']
    ]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _variant(
    config: str, options: Mapping[str, Any], entry: Mapping[str, Any]
) -> str:
    """Such as ``ahpcl lr=0.1``: the last part of every option's name."""
    changes = [f'{k.rpartition(".")[2]}={v}' for k, v in options.items()]
    if 'start_from' in entry:
        changes.append(f'from {entry["start_from"]}')
    if 'equal_time_with' in entry:
        changes.append(f'in the time of {entry["equal_time_with"]}')
    return ' '.join([config, *changes])


def _decisive(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            str(k): _decisive(v)
            for k, v in value.items()
            if k not in _INDIFFERENT
        }
    if isinstance(value, list | tuple):
        return [_decisive(v) for v in value]
    return value
