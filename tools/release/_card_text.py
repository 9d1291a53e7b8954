"""The text of a model card, from who leads and from the row's config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import _experiments  # noqa: F401  # isort: skip
from _card_sets import CODE_LICENCE, ImageSet
from _lead_text import lead_lines, verdict
from _leaders import Standing
from _plan import Plan, Row
from _question_tables import METRICS
from _tables import markdown
from mmengine.config import Config

from ahpcl.api.model_card import (
    backbone_text,
    front_matter,
    preprocessing_lines,
    render_card,
    space_text,
)
from ahpcl.api.preprocessing import Normalise, Preprocessing

_REFERENCES = {
    'untrained': 'untrained encoder',
    'pixels': 'pixels',
    'oracle': 'true classes as clusters (needs labels)',
}


def row_of(found: Standing, plan: Plan) -> Row:
    """The planned row of a card's encoder.

    Raises:
        ValueError: If its config is another one than that which ran.
    """
    key = (found.scale, found.entry['digest'], found.seed, 'val')
    row = next(row for row in plan.rows if row.key == key)
    if row.digest() != found.entry['digest']:
        raise ValueError(
            f'expected {row.name} to have the config that ran, digest '
            f'{found.entry["digest"]}, got {row.digest()}: the card would '
            'describe another encoder; add the row to superseded in plan.yml '
            'and run it again, or take the change of the config back'
        )
    return row


def figures_of(found: Standing) -> dict[str, str]:
    """Names of the metrics that all seeds have, by key of the ledger."""
    names = {found.metric: 'kNN (k = 20)', **METRICS}
    runs = found.leader.runs.values()
    return {
        key: name
        for key, name in names.items()
        if all(key in run['metrics'] for run in runs)
    }


def card_text(
    found: Standing,
    images: ImageSet,
    config: Config,
    rebuilt: Mapping[str, Any] | None = None,
) -> str:
    """Write the card of the encoder that leads a scale.

    Args:
        found: Who leads.
        images: What is said of the images.
        config: Config of the row.
        rebuilt: What came out when it was trained again, if it was.
    """
    entry = found.entry
    front = front_matter(
        images.licence, 'ahpcl', ['contrastive-learning', entry['config']]
    )
    if images.licence_name is not None:
        front['license_name'] = images.licence_name
    front['model-index'] = [_index(found, images)]
    method = found.leader.variant
    return render_card(
        front,
        f'Model card: {images.title}',
        'An encoder of these images that was trained without labels: '
        f'*{method}*, seed {found.seed}. {verdict(found)} '
        '`tools/release/model_cards.py` writes this card from '
        '`docs/results/ledger.jsonl`.',
        {
            'What it is': _what(found, images, config),
            'What was measured': _measured(found, images),
            'Does it lead?': lead_lines(found),
            'How to get it': _rebuild(found, images, rebuilt),
            'How to use it': [
                '<!-- not run: the weights are not in the repository -->',
                '```python',
                'import ahpcl',
                '',
                f"encoder = ahpcl.load('{images.name}.safetensors')",
                "features = encoder.embed('images/')",
                '```',
            ],
            'Intended use and limits': [f'- {x}' for x in images.limits],
            'Licence': [
                f'- Code: {CODE_LICENCE}. A US patent concerns the training '
                'of PCL and its like: see `docs/licences.md`.',
                f'- Data: {images.data_licence}',
            ],
        },
    )


def _index(found: Standing, images: ImageSet) -> dict[str, Any]:
    """The figures in the form in which hubs read them."""
    measured = found.entry['metrics']
    metrics = [
        dict(type=key, name=name, value=round(measured[key], 2))
        for key, name in figures_of(found).items()
    ]
    return dict(
        name=f'ahpcl-{images.name}',
        results=[
            dict(
                task=dict(type='image-feature-extraction'),
                dataset=dict(
                    name=images.title, type=images.name, split='validation'
                ),
                metrics=metrics,
            )
        ],
    )


def _what(found: Standing, images: ImageSet, config: Config) -> list[str]:
    entry, budget = found.entry, found.entry['budget']
    machine = entry['hardware']
    options = ', '.join(f'`{k}={v}`' for k, v in entry['options'].items())
    size = Preprocessing.of(config).size
    told = 'of any size' if size is None else f'{size[0]} x {size[1]} px'
    passes = ' and '.join(
        f'{budget[way] / budget["images"]:.1f} {way}'
        for way in ('forward', 'backward')
    )
    renamed = ''
    if entry['variant'] != found.leader.variant:
        renamed = f' (variant *{found.leader.variant}* of the plan today)'
    return [
        f'- Row: `{entry["row"]}`{renamed} of the experiments, seed '
        f'{found.seed}, at commit `{entry["commit"]}`, on '
        f'{machine["cpu"]} with Python {machine["python"]} and torch '
        f'{machine["torch"]}',
        f'- Config: `{entry["config"]}` at the scale `{found.scale}`'
        f'{f" with {options}" if options else ""}, digest '
        f'`{entry["digest"]}`',
        f'- Encoder: {backbone_text(config)}, '
        f'{budget["backbone_parameters"]:,} parameters',
        f'- Images: {images.parts}',
        f'- Gives: {space_text("features")}',
        *preprocessing_lines(config, Normalise.of(config), told),
        f'- Cost: {budget["epochs"]} epochs of {budget["images"]:,} images, '
        f'{passes} passes per image; {budget["train_seconds"]:.0f} s on a '
        'shared machine, which say little',
    ]


def _measured(found: Standing, images: ImageSet) -> list[str]:
    seeds = len(found.leader.runs)
    columns = {'name': ('', ''), 'own': (f'seed {found.seed}', '')}
    columns['mean'] = (f'mean of {seeds} seeds', '')
    shown = {v: m for v, m in found.references.items() if v in _REFERENCES}
    columns |= {v: (_REFERENCES[v], '') for v in _REFERENCES if v in shown}
    rows = []
    for key, name in figures_of(found).items():
        row: dict[str, str | None] = dict(
            name=name,
            own=f'{found.entry["metrics"][key]:.2f}',
            mean=found.leader.interval(key).text(),
        )
        for variant, method in shown.items():
            known = method.values(key)
            row[variant] = method.interval(key).text() if known else None
        rows.append(row)
    lines = [
        "In percent, but NMI from 0 to 1; intervals are 95 %, Student's, "
        'over seeds. `docs/results/README.md` has the protocol.',
        '',
        markdown(rows, columns),
    ]
    pixels = shown.get('pixels')
    if pixels is not None and (
        pixels.interval(found.metric).mean
        > found.leader.interval(found.metric).mean
    ):
        lines += ['', 'By kNN pixels alone are better than this encoder.']
    if found.test is None:
        return [*lines, '', 'No row has measured it on the test part.']
    text = found.test.interval(found.metric).text()
    return [
        *lines,
        '',
        f'On the test part, with {len(found.test.runs)} fresh seeds: '
        f'{text} of kNN.',
    ]


def _rebuild(
    found: Standing, images: ImageSet, rebuilt: Mapping[str, Any] | None
) -> list[str]:
    lines = [
        'The weights are not in the repository. This trains the row again, '
        'by the code of its commit and on one thread, compares the figures '
        'of the table, and keeps the checkpoint, '
        f'`{images.name}.safetensors` and this card in one folder:',
        '',
        '```bash',
        f'python tools/release/model_cards.py --rebuild {found.scale}',
        '```',
        '',
        'On a machine that rounds as the one of the row they must be equal. '
        'On another one training is like that with another seed: each '
        'must lie where a further seed would, with 95 % for all of them '
        'together (prediction intervals from the seeds of the ledger). With '
        'so few seeds these are wide: such a check finds a broken build, not '
        'a small difference.',
        '',
    ]
    if rebuilt is None:
        return [*lines, 'That was not run for this encoder yet.']
    return [*lines, *_came_out(rebuilt, figures_of(found))]


def _came_out(
    rebuilt: Mapping[str, Any], names: Mapping[str, str]
) -> Sequence[str]:
    """What a rebuild gave, as kept in rebuilt.json."""
    machine = rebuilt['hardware']
    same = 'like' if rebuilt['exact'] else 'unlike'
    figures = {
        name: rebuilt['figures'][key]
        for key, name in names.items()
        if key in rebuilt['figures']
    }
    rows = [
        dict(
            name=name,
            row=f'{figure["row"]:.2f}',
            found=f'{figure["found"]:.2f}',
            allowed='equal'
            if rebuilt['exact']
            else f'{figure["low"]:.2f} to {figure["high"]:.2f}',
            fits='yes' if figure['fits'] else '**no**',
        )
        for name, figure in figures.items()
    ]
    columns = dict(
        name=('', ''),
        row=('ledger', ''),
        found=('rebuilt', ''),
        allowed=('allowed', ''),
        fits=('fits', ''),
    )
    return [
        f'It was run on {rebuilt["date"]}, on {machine["cpu"]} with torch '
        f'{machine["torch"]}, {same} the machine of the row:',
        '',
        markdown(rows, columns),
    ]
