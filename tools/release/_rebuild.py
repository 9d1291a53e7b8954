"""Trains the encoder of a card again, by the code of its commit."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _experiments  # noqa: F401  # isort: skip
from _card_sets import ImageSet
from _leaders import Standing
from _plan import ROOT
from _question_tables import round_alike
from scipy.stats import t

import ahpcl
from ahpcl.runtime.checkpoint_files import good_checkpoint


@contextmanager
def work_tree(commit: str, root: Path = ROOT) -> Iterator[Path]:
    """A work tree of a commit, in a temporary folder, with the data.

    Raises:
        ValueError: If the repository has no such commit.
    """
    git = ['git', '-C', str(root)]
    known = subprocess.run(
        [*git, 'cat-file', '-e', f'{commit}^{{commit}}'], capture_output=True
    )
    if known.returncode:
        raise ValueError(
            f'expected the commit {commit} in {root}, got none: a rebuild '
            'needs the history; in a shallow clone get it with '
            'git fetch --unshallow'
        )
    with tempfile.TemporaryDirectory(prefix='ahpcl_rebuild_') as folder:
        tree = Path(folder) / 'tree'
        subprocess.run(
            [*git, 'worktree', 'add', '--quiet', '--detach', tree, commit],
            check=True,
        )
        try:
            if (root / 'data').is_dir() and not (tree / 'data').exists():
                (tree / 'data').symlink_to((root / 'data').resolve())
            yield tree
        finally:
            subprocess.run(
                [*git, 'worktree', 'remove', '--force', tree], check=True
            )


def train_again(
    entry: Mapping[str, Any], out: Path, ledger: Path, root: Path = ROOT
) -> tuple[dict[str, Any], Path]:
    """Run a row by the row.py of its commit, on one thread.

    One that was stopped goes on from its last checkpoint.

    Args:
        entry: The row's entry of the ledger.
        out: Folder for ``row.json`` and the run.
        ledger: For rows that replay what others decided.
        root: The repository.

    Returns:
        The entry that it gave now, and its checkpoint.

    Raises:
        RuntimeError: If the row failed, or is another one there.
    """
    out = out.resolve()
    result, runs = out / 'row.json', out / 'run'
    with work_tree(entry['commit'], root) as tree:
        command = [
            *(sys.executable, 'tools/experiments/row.py', entry['row']),
            *('--out', str(result), '--work-dir', str(runs)),
            *('--ledger', str(ledger.resolve()), '--threads', '1'),
        ]
        done = subprocess.run(
            command,
            cwd=tree,
            env={
                **os.environ,
                'PYTHONPATH': str(tree / 'projects'),
                'OMP_NUM_THREADS': '1',
            },
        )
    if done.returncode:
        raise RuntimeError(
            f'expected the row {entry["row"]} to run at {entry["commit"]}, '
            f'but it ended with {done.returncode}; its output is above'
        )
    found = json.loads(result.read_text('utf-8'))
    for name in ('digest', 'commit'):
        if found[name] != entry[name]:
            raise RuntimeError(
                f'expected the {name} {entry[name]} of the ledger, got '
                f'{found[name]}: not the same row'
            )
    checkpoint = good_checkpoint(runs / entry['row'] / entry['digest'])
    if checkpoint is None:
        raise RuntimeError(f'expected a checkpoint below {runs}, got none')
    return found, checkpoint


def compare(
    found: Standing, entry: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """Compare the figures of a rebuilt row with the ledger's.

    They must be equal where the machine computes as that of the row did. Else
    each must lie in the prediction interval for a further seed, which hold
    together with 95 %.

    Args:
        found: Who leads, with all its seeds.
        entry: What the rebuilt row gave.
        names: Metrics to compare.

    Returns:
        What is kept of it: the figures, and whether each fits.
    """
    exact = round_alike(found.entry['hardware'], entry['hardware'])
    figures = {}
    for name in names:
        row, now = found.entry['metrics'][name], entry['metrics'][name]
        figure = dict(row=row, found=now)
        low = high = row
        if not exact:
            seeds = list(found.leader.values(name).values())
            low, high = prediction(seeds, 1 - 0.05 / len(names))
            figure |= dict(low=low, high=high)
        figures[name] = figure | dict(fits=low <= now <= high)
    return dict(
        row=entry['row'],
        digest=entry['digest'],
        commit=entry['commit'],
        date=entry['finished'][:10],
        hardware={k: entry['hardware'].get(k) for k in ('cpu', 'torch')},
        exact=exact,
        figures=figures,
    )


def prediction(
    values: Sequence[float], confidence: float
) -> tuple[float, float]:
    """Where a further value lies: Student's prediction interval."""
    mean, count = statistics.fmean(values), len(values)
    spread = statistics.stdev(values) * math.sqrt(1 + 1 / count)
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * spread
    return mean - half, mean + half


def keep(checkpoint: Path, card: str, images: ImageSet, out: Path) -> None:
    """Put checkpoint, export and card into one folder."""
    shutil.copyfile(checkpoint, out / f'{images.name}.pth')
    encoder = ahpcl.load(checkpoint, device='cpu')
    licence = images.licence_name or images.licence
    encoder.export(out / f'{images.name}.safetensors', licence=licence)
    (out / 'README.md').write_text(card, 'utf-8')
