"""Names that somebody gave to clusters: ``clusters.csv`` beside a run."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ahpcl.utils.atomic_write import atomic_write

FILE = 'clusters.csv'
_COLUMNS = ('level', 'cluster', 'name')

Names = dict[tuple[int, int], str]


def read_cluster_names(
    folder: str | os.PathLike, num_clusters: Sequence[int] = ()
) -> Names:
    """Read the names of clusters beside a run.

    The file has the columns ``level`` (number of clusters K, as ``100`` or
    ``k100``), ``cluster`` (from 0) and ``name``; clusters without a row, or
    with an empty name, have none.

    Args:
        folder: Folder of the run.
        num_clusters: Cluster counts of its levels, to check the rows against;
            empty for no check.

    Returns:
        (K, cluster) to its name; empty without such a file.

    Raises:
        ValueError: If a row is none of a cluster of the run, or is there
            twice.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return {}
    found: Names = {}
    with path.open(newline='', encoding='utf-8-sig') as file:
        rows = csv.DictReader(file)
        missing = [c for c in _COLUMNS if c not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(
                f'expected the columns {", ".join(_COLUMNS)} in {path}, got '
                f'none called {", ".join(missing)}'
            )
        for row in rows:
            where = f'{path}, line {rows.line_num}'
            name = (row['name'] or '').strip()
            if not name:
                continue
            key = _key(row, where, num_clusters)
            if key in found:
                raise ValueError(
                    f'expected one name for every cluster, got {name!r} and '
                    f'{found[key]!r} for cluster {key[1]} of level {key[0]} '
                    f'in {where}'
                )
            found[key] = name
    return found


def write_cluster_names(folder: str | os.PathLike, names: Names) -> Path:
    """Write names for :func:`read_cluster_names`, in place of those there.

    Args:
        folder: Folder of the run.
        names: (K, cluster) to its name.

    Returns:
        The file.
    """
    path = Path(folder) / FILE
    with (
        atomic_write(path) as beside,
        beside.open('w', newline='', encoding='utf-8') as file,
    ):
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for (level, cluster), name in sorted(names.items(), reverse=True):
            writer.writerow([level, cluster, name])
    return path


def names_of(
    names: Names, num_clusters: int, clusters: Iterable[int] | np.ndarray
) -> np.ndarray:
    """Return the names of clusters of a level; empty text where there is none.

    Args:
        names: See :func:`read_cluster_names`.
        num_clusters: K of the level.
        clusters: Clusters, (N,).
    """
    return np.array(
        [names.get((num_clusters, int(own)), '') for own in clusters],
        dtype=np.str_,
    )


def _key(
    row: Mapping[str, str | None], where: str, counts: Sequence[int]
) -> tuple[int, int]:
    level = (row['level'] or '').strip().removeprefix('k')
    cluster = (row['cluster'] or '').strip()
    if not (level.isdecimal() and cluster.isdecimal()):
        raise ValueError(
            f'expected a level such as 100 and a cluster from 0 in {where}, '
            f'got {row["level"]!r} and {row["cluster"]!r}'
        )
    key = int(level), int(cluster)
    if counts and key[0] not in counts:
        raise ValueError(
            f'expected one of the levels {tuple(counts)} of the run in '
            f'{where}, got {key[0]}'
        )
    if key[1] >= key[0]:
        raise ValueError(
            f'expected a cluster from 0 to {key[0] - 1} of level {key[0]} in '
            f'{where}, got {key[1]}'
        )
    return key
