"""The card beside an exported encoder, in the form that hubs read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from ahpcl.core import PrototypeHierarchy
from ahpcl.datasets.pixel_format import DTYPE_RANGES, PixelFormat
from ahpcl.engine.training_index import INDEX
from ahpcl.visualization.run_log import RunLog

from .encoder_parts import EncoderParts
from .preprocessing import Preprocessing
from .run_files import RunFiles

_LIBRARIES = {
    'onnx': 'onnx',
    'timm': 'timm',
    'torchvision': 'torchvision',
    'mmpretrain': 'mmpretrain',
    'safetensors': 'ahpcl',
}
# Scalars of the log that say how good features are, not how training went.
_FIGURES = ('knn/', 'few_shot/', 'linear/', 'cluster/', 'svm/', 'health/')


@dataclass(frozen=True)
class ExportFacts:
    """What an export is.

    Attributes:
        file: Name of the file.
        format: Such as 'onnx'.
        space: 'features', 'prototypes' or 'both'.
        preprocess: Whether the normalisation is part of it.
        size: Height and width of the images, in px.
        usage: Lines of Python that use it.
        licence: What is said of the licence.
    """

    file: str
    format: str
    space: str
    preprocess: bool
    size: tuple[int, int] | None
    usage: tuple[str, ...]
    licence: str


def model_card(
    files: RunFiles, parts: EncoderParts, facts: ExportFacts
) -> str:
    """Write the card: YAML front matter, then Markdown.

    Args:
        files: What is in the run.
        parts: Its encoders.
        facts: What the export is.
    """
    lines = [
        '---',
        f'license: {json.dumps(facts.licence)}',
        f'library_name: {_LIBRARIES[facts.format]}',
        'pipeline_tag: image-feature-extraction',
        'tags:',
        '- self-supervised-learning',
        '- image-feature-extraction',
        f'- {facts.format}',
        '---',
        '',
        f'# {facts.file}',
        '',
        f'{_article(_method(files))} encoder of images, trained without '
        f'labels by ahpcl{_version()}.',
        '',
        '## What it is',
        '',
        f'- Encoder: {_backbone(files)}',
        f'- Trained: {_trained(files)}',
        f'- Images: {_images(files)}',
        f'- Gives: {_space(facts.space)}',
        *_preprocessing(files, parts, facts),
        '',
        '## How to use it',
        '',
        '```python',
        *facts.usage,
        '```',
        '',
        '## What was measured',
        '',
        *_figures(files),
        '',
        '## Licence',
        '',
        f'{facts.licence}. That of the training images holds besides.',
        '',
    ]
    return '\n'.join(lines)


def _version() -> str:
    try:
        return f' {metadata.version("ahpcl")}'
    except metadata.PackageNotFoundError:
        return ''


def _method(files: RunFiles) -> str:
    return str(files.config.model.get('type', 'unknown')).rpartition('.')[2]


def _article(method: str) -> str:
    return f'{"An" if method[:1] in "AEIO" else "A"} {method}'


def _backbone(files: RunFiles) -> str:
    settings: dict[str, Any] = dict(files.config.model.backbone)
    kind = settings.pop('type')
    shown = ', '.join(
        f'{key}={value!r}'
        for key, value in settings.items()
        if key not in ('init_cfg', 'weights')
    )
    return f'{kind}({shown})'


def _trained(files: RunFiles) -> str:
    epoch = files.meta.get('epoch')
    return 'not known' if epoch is None else f'{epoch} epochs'


def _images(files: RunFiles) -> str:
    state = files.kept.get('hierarchy')
    if state is None:
        return 'not known'
    first = PrototypeHierarchy.from_state_dict(state).levels[0]
    return f'{len(first.assignments):,}'


def _space(space: str) -> str:
    said = {
        'features': 'the pooled features of the query backbone (the space '
        '`features`), by which everything was measured',
        'prototypes': "the key encoder's projection of unit length (the "
        'space `prototypes`), in which the clusters of the run live',
        'both': 'pooled features of the query backbone (`features`) and the '
        "key encoder's projection (`prototypes`), with its clusters",
    }
    return said[space]


def _preprocessing(
    files: RunFiles, parts: EncoderParts, facts: ExportFacts
) -> list[str]:
    size = 'of any size'
    if facts.size is not None:
        size = f'{facts.size[0]} x {facts.size[1]} px'
    steps = [
        _step(step)
        for hook in [_pipeline(files)]
        for step in hook
        if not str(step['type']).rpartition('.')[2].startswith('Load')
    ]
    fit = ', '.join(steps) or 'none: the images of the run are of that size'
    lines = [f'- Size: {size}; resizing and cropping: {fit}']
    pixels = Preprocessing.of(files.config).pixels
    number = pixels.channels
    if pixels.ranges:
        lines.append(f'- Depth: {_depth(pixels)}')
    if facts.preprocess:
        channels = 'R, G, B' if number == 3 else 'in the order of the files'
        lines.append(
            f'- In: uint8 (batch, height, width, {number}), channels '
            f'{channels}, resized and cropped; they are normalised in the '
            'graph'
        )
        return lines
    mean, std = parts.normalise.mean, parts.normalise.std
    channels = 'R, G, B' if parts.normalise.swap else 'B, G, R'
    if number != 3:
        channels = 'in the order of the files'
    if mean is None or std is None:
        lines.append(f'- In: pixels from 0 to 255, channels {channels}')
        return lines
    numbers = [values.flatten().tolist() for values in (mean, std)]
    shares = [[round(v / 255, 6) for v in values] for values in numbers]
    lines.append(
        f'- In: float32 (batch, {number}, height, width), channels '
        f'{channels}, normalised by mean {shares[0]} and deviation '
        f'{shares[1]} of pixels from 0 to 1'
    )
    return lines


def _depth(pixels: PixelFormat) -> str:
    """Say which values of which types become 0 and 255, before all else."""
    said = []
    for dtype, spans in pixels.ranges:
        pairs = spans or (DTYPE_RANGES[dtype],)
        text = ', '.join(f'{low:g} to {high:g}' for low, high in pairs)
        bands = ' (a pair for every band)' if len(pairs) > 1 else ''
        said.append(f'{dtype} from {text}{bands}')
    return (
        f'{"; ".join(said)} becomes 0 to 255, rounded and clipped, before '
        'anything else'
    )


def _pipeline(files: RunFiles) -> list[dict]:
    return Preprocessing.of(files.config).pipeline


def _step(step: dict) -> str:
    rest = {key: value for key, value in step.items() if key != 'type'}
    shown = ', '.join(f'{key}={value!r}' for key, value in rest.items())
    return f'{step["type"]}({shown})'


def _figures(files: RunFiles) -> list[str]:
    rows = [f'- {name}: {value:.2f}' for name, value in measured(files)]
    index = files.kept.get(INDEX)
    threshold = None if index is None else index.get('threshold')
    if threshold is not None:
        rows.append(
            f'- {threshold["measured"]:.2%} of {threshold["num_images"]} '
            'held-out training images are called unlike the training images'
        )
    return rows or ['Nothing: the run has no log, or was not evaluated.']


def measured(files: RunFiles) -> list[tuple[str, float]]:
    """Return the last figures of the run's log about its features."""
    if files.folder is None:
        return []
    try:
        log = RunLog(files.folder)
    except (ValueError, OSError):
        return []
    return [
        (name, found[-1][1])
        for name, found in sorted(log.scalars.items())
        if found and name.startswith(_FIGURES)
    ]
