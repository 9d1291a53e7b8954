"""Clusters of a run as tables: images, prototypes, features."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ahpcl.core.clustering.agreement import contingency
from ahpcl.utils.atomic_write import atomic_write
from ahpcl.utils.text import as_utf8

from .cluster_names import names_of
from .run_data import RunData

FORMATS = ('csv', 'parquet', 'npz')
Table = dict[str, np.ndarray]


def image_table(run: RunData) -> Table:
    """Return a row for every training image, in the order of the set.

    Columns ``index``, ``path``, ``label`` and ``class`` where they are
    known, ``status`` (``known``, ``new`` or ``changed``) where some are not
    those of the checkpoint, and for every level ``k<K>_cluster``,
    ``k<K>_phi`` (of its cluster), ``k<K>_distance`` (Euclidean, on the unit
    sphere), ``k<K>_parent``, the cluster of the next coarser level, and
    ``k<K>_name`` where clusters are named, see
    :mod:`ahpcl.evaluation.cluster_names`.

    Args:
        run: A checkpoint.
    """
    data = run.training
    table: Table = dict(
        index=np.arange(data.num_images), path=np.array(data.paths)
    )
    if data.has_labels:
        labels = data.labels.tolist()
        names = [data.class_name(i) if i >= 0 else '' for i in labels]
        table['label'] = data.labels.numpy()
        table['class'] = np.array(names)
    if run.own_prototypes and run.changes and not run.changes.all_known:
        table['status'] = run.changes.status()
    for place, level in enumerate(run.hierarchy.levels):
        name = f'k{level.num_clusters}'
        own = level.assignments
        table[f'{name}_cluster'] = own.numpy()
        table[f'{name}_phi'] = level.concentration[own].float().numpy()
        table[f'{name}_distance'] = run.distances(place).numpy()
        found = run.lineage(place)
        if found is not None:
            table[f'{name}_parent'] = found.parents[own].numpy()
        shown = names_of(run.cluster_names, level.num_clusters, own.numpy())
        if any(shown.tolist()):
            table[f'{name}_name'] = shown
    return table


def prototype_table(run: RunData, level: int) -> Table:
    """Return a row for every prototype of a level.

    Columns ``cluster``, ``name`` where any is named, ``size``, ``phi``,
    ``distance`` (mean of its images, NaN without), ``parent`` and
    ``parent_share`` (of its images in that parent) where there is a coarser
    level, ``class`` and ``class_share`` of
    the most frequent class of those images whose label is known, where any
    is, and ``centroid`` (K, D).

    Args:
        run: A checkpoint.
        level: 0 is the finest.
    """
    chosen = run.hierarchy.levels[level]
    count, own = chosen.num_clusters, chosen.assignments.numpy()
    sizes = np.bincount(own, minlength=count)
    total = np.bincount(own, run.distances(level).numpy(), minlength=count)
    mean = np.full(count, np.nan)
    np.divide(total, sizes, out=mean, where=sizes > 0)
    table: Table = dict(cluster=np.arange(count))
    shown = names_of(run.cluster_names, count, table['cluster'])
    if any(shown.tolist()):
        table['name'] = shown
    table |= dict(
        size=sizes,
        phi=chosen.concentration.float().numpy(),
        distance=mean.astype(np.float32),
    )
    found = run.lineage(level)
    if found is not None:
        table['parent'] = found.parents.numpy()
        table['parent_share'] = found.share.numpy()
    if run.training.has_labels:
        labels = run.training.labels
        counts = contingency(
            chosen.assignments, labels, count, int(labels.max()) + 1
        ).numpy()
        best, labelled = counts.argmax(axis=1), counts.sum(axis=1)
        names = [run.training.class_name(int(label)) for label in best]
        table['class'] = np.where(labelled > 0, names, '')
        share = np.zeros(count)
        np.divide(counts.max(axis=1), labelled, out=share, where=labelled > 0)
        table['class_share'] = share.astype(np.float32)
    table['centroid'] = chosen.centroids.float().numpy()
    return table


def feature_table(run: RunData) -> Table:
    """Return a row for every training image: features, and keys if any.

    Columns ``index``, ``path``, ``feature`` (N, C), the pooled features of
    the query backbone, and ``key`` (N, D), the unit rows of the key encoder.

    Args:
        run: A checkpoint.
    """
    data = run.training
    table: Table = dict(
        index=np.arange(data.num_images),
        path=np.array(data.paths),
        feature=data.features.numpy(),
    )
    if data.keys is not None:
        table['key'] = data.keys.numpy()
    return table


def write_table(table: Mapping[str, np.ndarray], path: Path) -> None:
    r"""Write a table in the format that the name ends in.

    CSV and NPZ need nothing; rows of vectors are a column each in a CSV
    (``feature_0``, ...), a list in Parquet and an array (N, D) in an NPZ,
    which loads without pickle. The file appears when it is complete.

    Text is written as it is: a path that begins with ``=`` is one to a
    spreadsheet too, so import the column as text there. Bytes of a path that
    are no UTF-8 are written as ``\udcXX``;
    :func:`ahpcl.utils.text.from_utf8` gives the path back.

    Args:
        table: Columns of equal length.
        path: Ending in ``.csv``, ``.parquet`` or ``.npz``.

    Raises:
        ValueError: If it ends in something else.
        ImportError: If Parquet is asked for and pyarrow is not installed.
    """
    form = path.suffix.removeprefix('.')
    if form not in FORMATS:
        raise ValueError(
            f'expected a file ending in {", ".join(FORMATS)}, got {path.name}'
        )
    if form == 'parquet':
        check_parquet()
    table = {name: _readable(values) for name, values in table.items()}
    with atomic_write(path) as beside:
        if form == 'npz':
            with beside.open('wb') as file:
                np.savez_compressed(file, **table)
        elif form == 'csv':
            _write_csv(table, beside)
        else:
            _write_parquet(table, beside)


def check_parquet() -> None:
    """Refuse Parquet where it cannot be written.

    Raises:
        ImportError: If pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'expected pyarrow for Parquet, got none; install it with: pip '
            'install "ahpcl[export]", or take csv or npz'
        ) from error


def _write_csv(table: Mapping[str, np.ndarray], path: Path) -> None:
    columns: dict[str, Any] = {}
    for name, values in table.items():
        if values.ndim == 1:
            columns[name] = values
        else:
            for place in range(values.shape[1]):
                columns[f'{name}_{place}'] = values[:, place]
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _write_parquet(table: Mapping[str, np.ndarray], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = {}
    for name, values in table.items():
        if values.ndim == 1:
            columns[name] = pyarrow.array(values)
        else:
            flat = pyarrow.array(values.reshape(-1))
            columns[name] = pyarrow.FixedSizeListArray.from_arrays(
                flat, values.shape[1]
            )
    parquet.write_table(pyarrow.table(columns), path)


def _readable(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != 'U':
        return values
    return np.array([as_utf8(text) for text in values.tolist()], np.str_)
