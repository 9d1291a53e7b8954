"""The text of a model card, from who leads and from the row's config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import _experiments  # noqa: F401  # isort: skip
from _card_sets import CODE_LICENCE, ImageSet
from _leaders import Method, Standing
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

_SHOWN = 5  # rivals in the table
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
        'The encoder of these images that leads the ledger of the '
        f'experiments, trained without labels: `{method}`, seed '
        f'{found.seed}. Leading is not being told apart: see '
        'below. `tools/release/model_cards.py` writes this card from '
        '`docs/results/ledger.jsonl`.',
        {
            'What it is': _what(found, images, config),
            'What was measured': _measured(found, images),
            'Does it lead?': _leads(found),
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
                f'- Images: {images.data_licence}',
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
    return [
        f'- Row: `{entry["row"]}` of `configs/experiments/plan.yml`, seed '
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


def _leads(found: Standing) -> list[str]:
    own = found.leader.interval(found.metric).text()
    if not found.rivals:
        lines = [
            f'Not known: `{found.leader.variant}` ({own} of kNN) is the only '
            'method that needs no labels with two seeds or more here. This '
            'card says which encoder there is, not which is best.'
        ]
    else:
        number = len(found.rivals)
        near = sum(r.overlaps for r in found.rivals)
        apart = sum(r.told_apart for r in found.rivals)
        lines = [
            f'Of {number + 1} methods that need no labels and have two seeds '
            f'or more, `{found.leader.variant}` has the highest mean of kNN, '
            'the metric that choices are made by: '
            f'{own}. **The intervals of {near} of the other {number} overlap '
            f'its own**; by paired differences, corrected for {number} '
            f'comparisons (Holm), {apart} are told apart from it. The '
            'highest of many means is also too high: fresh images would show '
            'less.',
            '',
            _rivals(found),
        ]
    if found.single:
        some = ', '.join(
            f'`{m.variant}` {m.interval(found.metric).mean:.2f}'
            for m in found.single[:_SHOWN]
        )
        rest = len(found.single) - _SHOWN
        lines += [
            '',
            'With one seed, so without an interval and not counted: '
            f'{some}{f", and {rest} lower ones" if rest > 0 else ""}.',
        ]
    return lines


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
        method=f'`{method.variant}`',
        seeds=len(method.values(metric)),
        value=method.interval(metric).text(),
        epochs=budget['epochs'],
        forward=budget['forward'] / budget['images'],
        backward=budget['backward'] / budget['images'],
    )


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
        'together (prediction intervals from the seeds of the ledger).',
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
    rows = [
        dict(
            name=names.get(key, key),
            row=f'{figure["row"]:.2f}',
            found=f'{figure["found"]:.2f}',
            allowed='equal'
            if rebuilt['exact']
            else f'{figure["low"]:.2f} to {figure["high"]:.2f}',
            fits='yes' if figure['fits'] else '**no**',
        )
        for key, figure in rebuilt['figures'].items()
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
