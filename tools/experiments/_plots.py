"""Plots of a question: neighbours, accuracy of the prototypes, the ladder."""

from __future__ import annotations

import hashlib
import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Runs = Mapping[str, Mapping[int, Mapping[str, Any]]]
#: Where a PNG says of which data it is.
KEY = 'Description'
_PANEL, _HIGH, _GAP = 3.6, 2.5, 0.75
_PER_ROW = 6  # entries of the legend


def data_of(variants: Sequence[str], chosen: Runs) -> dict[str, Any]:
    """What is drawn, by variant and seed; empty if nothing was trained.

    Args:
        variants: Names, in the order of the legend.
        chosen: Entries of the ledger by variant and seed.
    """
    return {
        variant: {
            str(seed): {
                name: entry['curves'].get(name, [])
                for name in ('knn/top1', 'acc_proto', 'rungs')
            }
            for seed, entry in sorted(chosen[variant].items())
        }
        for variant in variants
        if any(e['curves'] for e in chosen.get(variant, {}).values())
    }


def fingerprint(data: Mapping[str, Any]) -> str:
    """Of what is drawn; the PNG keeps it."""
    text = json.dumps(data, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def drawn_from(path: Path) -> str | None:
    """The fingerprint of a PNG's data; None without one."""
    if not path.is_file():
        return None
    from PIL import Image

    with Image.open(path) as image:
        return image.info.get(KEY)


def draw(data: Mapping[str, Any], path: Path, title: str, note: str) -> None:
    """Write the plots of a question as a PNG.

    Left: the primary metric over epochs, a mean over seeds and the range of
    the seeds. Middle: accuracy of the prototypes, a line per seed, with a dot
    where the ladder advanced. Right: K of the newest rung.

    Args:
        data: What `data_of` returns.
        path: The file.
        title: Text of the question.
        note: Where the runs come from.
    """
    from matplotlib.lines import Line2D

    from ahpcl.utils.atomic_write import atomic_write
    from ahpcl.visualization.canvas import DPI, Canvas, heading, tidy
    from ahpcl.visualization.colours import distinct_colours

    ladders = any(
        any(rungs for rungs in run['rungs'])
        for runs in data.values()
        for run in runs.values()
    )
    panels = 3 if ladders else 1
    width = max(2, panels) * (_PANEL + _GAP) + 0.5
    rows = -(-len(data) // _PER_ROW)
    canvas = Canvas(width, _HIGH + 0.85 + 0.2 * rows, title, (note,))
    axes = [
        canvas.axes(0.75 + i * (_PANEL + _GAP), 0.25, _PANEL, _HIGH)
        for i in range(panels)
    ]
    colours = [tuple(c) for c in distinct_colours(len(data))]
    for colour, runs in zip(colours, data.values(), strict=True):
        _neighbours(axes[0], runs, colour)
        if ladders:
            for run in runs.values():
                _prototypes(axes[1], axes[2], run, colour)
    titles = (
        'kNN on val, %',
        'accuracy of the prototypes, %; a dot: advance',
        'clusters of the newest rung',
    )
    for each, text in zip(axes, titles, strict=False):
        tidy(each)
        heading(each, text)
        each.set_xlabel('epoch')
    if ladders:
        axes[2].set_yscale('log', base=2)
        axes[2].yaxis.set_major_formatter('{x:.0f}')
    canvas.figure.legend(
        handles=[
            Line2D([], [], color=colour, lw=2, label=name)
            for colour, name in zip(colours, data, strict=True)
        ],
        loc='lower left',
        bbox_to_anchor=(0.3 / width, 0.01),
        ncols=_PER_ROW,
        fontsize=8,
        frameon=False,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside:
        canvas.figure.savefig(
            beside,
            format='png',
            dpi=DPI,
            metadata={'Software': 'ahpcl', KEY: fingerprint(data)},
        )


def _neighbours(axes: Any, runs: Mapping[str, Any], colour: Any) -> None:
    by_epoch: dict[float, list[float]] = {}
    for run in runs.values():
        for epoch, value in run['knn/top1']:
            by_epoch.setdefault(epoch, []).append(value)
    epochs = sorted(by_epoch)
    means = [statistics.fmean(by_epoch[e]) for e in epochs]
    axes.plot(epochs, means, color=colour, lw=1.5, marker='o', ms=2.5)
    axes.fill_between(
        epochs,
        [min(by_epoch[e]) for e in epochs],
        [max(by_epoch[e]) for e in epochs],
        color=colour,
        alpha=0.12,
        lw=0,
    )


def _prototypes(
    accuracy: Any, ladder: Any, run: Mapping[str, Any], colour: Any
) -> None:
    values = {round(epoch): value for epoch, value in run['acc_proto']}
    if values:
        accuracy.plot(*zip(*values.items(), strict=True), color=colour, lw=1)
    newest = [
        (epoch, rungs[-1])
        for epoch, rungs in enumerate(run['rungs'], 1)
        if rungs
    ]
    if not newest:
        return
    ladder.step(*zip(*newest, strict=True), color=colour, lw=1.2, where='mid')
    for (_, before), (epoch, after) in itertools.pairwise(newest):
        if before != after and epoch in values:
            accuracy.plot(epoch, values[epoch], 'o', color=colour, ms=3.5)
