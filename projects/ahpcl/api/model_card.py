"""The card beside an exported encoder, in the form that hubs read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import yaml
from mmengine.config import Config

from ahpcl.core import PrototypeHierarchy
from ahpcl.datasets.pixel_format import DTYPE_RANGES, PixelFormat
from ahpcl.engine.training_index import INDEX
from ahpcl.visualization.run_log import RunLog

from .encoder_parts import EncoderParts
from .preprocessing import Normalise, Preprocessing
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
    size = 'of any size'
    if facts.size is not None:
        size = f'{facts.size[0]} x {facts.size[1]} px'
    return render_card(
        front_matter(
            facts.licence, _LIBRARIES[facts.format], tags=[facts.format]
        ),
        facts.file,
        f'{_article(_method(files))} encoder of images, trained without '
        f'labels by ahpcl{_version()}.',
        {
            'What it is': [
                f'- Encoder: {backbone_text(files.config)}',
                f'- Trained: {_trained(files)}',
                f'- Images: {_images(files)}',
                f'- Gives: {space_text(facts.space)}',
                *preprocessing_lines(
                    files.config, parts.normalise, size, facts.preprocess
                ),
            ],
            'How to use it': ['```python', *facts.usage, '```'],
            'What was measured': _figures(files),
            'Licence': [
                f'{facts.licence}. That of the training images holds besides.'
            ],
        },
    )


def front_matter(
    licence: str, library: str, tags: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what hubs read of every encoder: licence, library, tags.

    Args:
        licence: What is said of the licence.
        library: Name of the library that loads it.
        tags: More tags.
    """
    task = 'image-feature-extraction'
    return {
        'license': licence,
        'library_name': library,
        'pipeline_tag': task,
        'tags': ['self-supervised-learning', task, *tags],
    }


def render_card(
    front: Mapping[str, Any],
    title: str,
    summary: str,
    sections: Mapping[str, Sequence[str]],
) -> str:
    """Write a card: YAML front matter, then Markdown.

    Args:
        front: What hubs read, such as of :func:`front_matter`.
        title: Heading of the card.
        summary: What it is, in a sentence or two.
        sections: Lines of every section by its heading.
    """
    told = yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True)
    parts = [f'---\n{told}---', f'# {title}', summary]
    for heading, lines in sections.items():
        parts += [f'## {heading}', '\n'.join(lines)]
    return '\n\n'.join(parts) + '\n'


def _version() -> str:
    try:
        return f' {metadata.version("ahpcl")}'
    except metadata.PackageNotFoundError:
        return ''


def _method(files: RunFiles) -> str:
    return str(files.config.model.get('type', 'unknown')).rpartition('.')[2]


def _article(method: str) -> str:
    return f'{"An" if method[:1] in "AEIO" else "A"} {method}'


def backbone_text(config: Config) -> str:
    """Name the backbone of a config and its settings."""
    settings: dict[str, Any] = dict(config.model.backbone)
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


def space_text(space: str) -> str:
    """Say what the features of a space are; 'both' for all."""
    said = {
        'features': 'the pooled features of the query backbone (the space '
        '`features`), by which everything was measured',
        'prototypes': "the key encoder's projection of unit length (the "
        'space `prototypes`), in which the clusters of the run live',
        'both': 'pooled features of the query backbone (`features`) and the '
        "key encoder's projection (`prototypes`), with its clusters",
    }
    return said[space]


def preprocessing_lines(
    config: Config,
    normalise: Normalise,
    size: str,
    in_graph: bool = False,
) -> list[str]:
    """Say how an image becomes what an encoder takes.

    Args:
        config: Config of the run.
        normalise: What its preprocessor does to pixels.
        size: What is said of the size of the images.
        in_graph: Whether the normalisation is part of the export.
    """
    found = Preprocessing.of(config)
    steps = [
        _step(step)
        for step in found.pipeline
        if not str(step['type']).rpartition('.')[2].startswith('Load')
        and step not in found.changes
    ]
    fit = ', '.join(steps) or 'none: the images of the run are of that size'
    lines = [f'- Size: {size}; resizing and cropping: {fit}']
    if found.changes:
        changes = ', '.join(_step(step) for step in found.changes)
        lines.append(
            f'- Then, on pixels from 0 to 255 in the order B, G, R: {changes} '
            '(`ahpcl.datasets`), before channels are exchanged and normalised'
        )
    pixels = found.pixels
    number = pixels.channels
    if pixels.ranges:
        lines.append(f'- Depth: {_depth(pixels)}')
    if in_graph:
        channels = 'R, G, B' if number == 3 else 'in the order of the files'
        lines.append(
            f'- In: uint8 (batch, height, width, {number}), channels '
            f'{channels}, resized and cropped; they are normalised in the '
            'graph'
        )
        return lines
    mean, std = normalise.mean, normalise.std
    channels = 'R, G, B' if normalise.swap else 'B, G, R'
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
