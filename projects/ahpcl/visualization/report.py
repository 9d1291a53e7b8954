"""A run as one page: opens from disk, and fetches nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ahpcl.evaluation.run_data import RunData
from ahpcl.utils.atomic_write import atomic_write

from .report_explorer import FARTHEST, NEAREST, Explorer, explorer
from .report_kinds import kinds_of_run
from .report_log import curves, decisions, esteps
from .report_markup import escape, page, paragraph, section
from .report_quality import clusters, evaluations
from .report_summary import run_summary
from .report_worth import worth
from .run_log import RunLog

MAX_IMAGES = 2000


def report_page(
    run: RunData,
    work_dir: str | os.PathLike,
    *,
    config: str | os.PathLike,
    max_images: int = MAX_IMAGES,
    pretrained: str | os.PathLike | None = None,
) -> str:
    """Describe a run in HTML.

    Args:
        run: The checkpoint that is shown.
        work_dir: Work folder of the run, with its logs and evaluations where
            there are any.
        config: File of its config, for the commands that are shown.
        max_images: Most images that are shown.
        pretrained: Weights that the run is compared with, see
            :func:`ahpcl.evaluation.comparison.compare`.

    Returns:
        The page, complete in itself.

    Raises:
        ValueError: If the checkpoint, the images and the config do not fit
            together, or ``max_images`` is not positive.
        OSError: If images cannot be read.
    """
    folder = Path(work_dir)
    found = explorer(run, max_images)
    try:
        log, problem = RunLog(folder), ''
    except ValueError as error:
        log, problem = None, str(error)
    parts = {
        ('run', 'Run'): run_summary(run, log, folder),
        ('worth', 'Was it worth training?'): worth(run, pretrained),
        ('kinds', 'How many kinds?'): kinds_of_run(run, log),
        ('curves', 'Curves'): _of_log(log, problem, curves),
        ('decisions', 'Decisions'): _of_log(log, problem, decisions),
        ('evaluation', 'Evaluation'): evaluations(run, folder, Path(config)),
        ('clusters', 'Clusters'): clusters(run),
        ('explorer', 'Hierarchy explorer'): explorer_part(run, found),
        ('gallery', 'Prototype gallery'): gallery_part(found),
        ('esteps', 'E-steps'): _of_log(log, problem, esteps),
    }
    name = folder.resolve().name
    links = ''.join(
        f'<li><a href="#{key}">{escape(title)}</a></li>'
        for key, title in parts
    )
    written = datetime.now().strftime('%Y-%m-%d %H:%M')
    head = (
        f'<header><h1>{escape(name)}</h1>'
        + paragraph(
            f'{run.name}, {run.training.num_images:,} training images; '
            f'report written {written}'
        )
        + f'<nav aria-label="Parts"><ul>{links}</ul></nav></header>'
    )
    body = '\n'.join(
        section(key, title, content) for (key, title), content in parts.items()
    )
    return page(
        title=f'{name}: report',
        main=f'{head}\n<main>{body}</main>',
        data=found.data,
        sheets=found.sheets,
    )


def write_page(text: str, path: str | os.PathLike) -> int:
    """Write a page atomically.

    Returns:
        Its size in bytes.
    """
    content = text.encode('utf-8')
    with atomic_write(path) as beside:
        beside.write_bytes(content)
    return len(content)


def _of_log(
    log: RunLog | None, problem: str, part: Callable[[RunLog], str]
) -> str:
    return paragraph(problem, 'warning') if log is None else part(log)


def _left_out(run: RunData, found: Explorer) -> str:
    number = run.training.num_images
    if found.shown == number:
        return f'All {number:,} images are in this page.'
    text = (
        f'{found.shown:,} of {number:,} images are in this page: of every '
        f'prototype the {NEAREST} nearest and the {FARTHEST} farthest, as '
        'many as --max-images allows; the others are counted, not shown.'
    )
    if found.bare:
        text += (
            f' {found.bare:,} prototypes have no picture at all: --max-images '
            'is less than there are.'
        )
    return text


def explorer_part(run: RunData, found: Explorer) -> str:
    """Return the explorer of the hierarchy, and how it is used."""
    counts = run.hierarchy.num_clusters
    about = [
        'Open a prototype to see its images and its children, the '
        'prototypes of the next finer level most of whose images it has. '
        'Clusters are numbered from 0 in every level; φ is the '
        'concentration, small for dense clusters; distances are Euclidean, '
        'between unit vectors.',
        _left_out(run, found),
    ]
    if not run.own_prototypes:
        about.append('The prototypes are of a fresh k-means of the features.')
    if found.data['root']:
        about.append(f'Paths are from {found.data["root"]}.')
    levels = ''.join(
        f'<option value="{place}">K = {count}</option>'
        for place, count in reversed(list(enumerate(counts)))
    )
    return (
        paragraph(' '.join(about), 'note')
        + '<noscript>'
        + paragraph('The explorer needs scripts.', 'warning')
        + '</noscript>'
        + '<div class="controls" role="search">'
        '<label>Find <input id="query" type="search" autocomplete="off" '
        'spellcheck="false" placeholder="cluster number or class"></label>'
        '<label>in <select id="query-level"><option value="">all levels'
        f'</option>{levels}</select></label>'
        '<label>Order by <select id="order"><option value="size">size'
        '</option><option value="phi">φ</option>'
        '<option value="number">number</option></select></label>'
        '<button type="button" id="close-all">Close all</button></div>'
        '<p id="found" class="note" role="status"></p>'
        '<ul id="results"></ul><div id="tree"></div>'
    )


def gallery_part(found: Explorer) -> str:
    """Return the gallery of the prototypes."""
    levels = found.data['levels']
    folds = ''.join(
        f'<details class="fold gallery" data-level="{place}">'
        f'<summary>K = {level["k"]}: prototypes by φ, the densest first'
        '</summary></details>'
        for place, level in reversed(list(enumerate(levels)))
    )
    return (
        paragraph(
            'The nearest images of every prototype, then its farthest.',
            'note',
        )
        + folds
    )
