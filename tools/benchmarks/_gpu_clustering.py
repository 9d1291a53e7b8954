"""Clustering at ImageNet's size: a part of `gpu_check.py`.

For every K the published recipe by plain brute force, of which a few
iterations are timed and the rest is multiplied, and every engine of ours: one
search of all points, and the k-means of an E-step in the steady state (three
iterations from the centroids of the epoch before, and the exact assignment).
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from _clustering import (
    PCL_ITERATIONS,
    PCL_RESTARTS,
    brute_force_iteration,
    brute_force_search,
    drifting_features,
    measured,
)
from _floor import copy_rate, matmul_rate
from _part import Record, parse_part
from torch import Tensor

from ahpcl.core import KMeansSettings, spherical_kmeans
from ahpcl.core.clustering.search import (
    available_backends,
    exact_nearest,
    find_nearest,
)

ENGINES = ('torch', 'flash')
#: Iterations of a warm start, of the recipe that are timed, and searches.
WARM, TIMED, SEARCHES = 3, 2, 3
SIZES = dict(
    points=1_280_000, dims=128, clusters=[25_000, 50_000, 100_000], matmul=8192
)
SMALL = dict(points=3_000, dims=16, clusters=[40, 80], matmul=256)


def recipe(row: dict[str, Any], features: Tensor, centroids: Tensor) -> None:
    """Time a few iterations of PCL's recipe, and say what all would take."""
    device = features.device
    measured(lambda: brute_force_search(features, centroids), device)
    _, search = measured(
        lambda: brute_force_search(features, centroids), device
    )

    def iterate() -> Tensor:
        found = centroids
        for _ in range(TIMED):
            found = brute_force_iteration(features, found)
        return found

    _, cost = measured(iterate, device)
    iterations = PCL_ITERATIONS * PCL_RESTARTS
    row.update(
        search_seconds=search.seconds,
        seconds=cost.seconds / TIMED * iterations
        + search.seconds * PCL_RESTARTS,
        extra_mib=cost.extra_mib,
        extrapolated=True,
        iterations_timed=TIMED,
        iterations_counted=iterations,
    )


def engine(
    row: dict[str, Any], name: str, epochs: list[Tensor], centroids: Tensor
) -> None:
    """Time a search and a warm k-means of ours."""
    before, now = epochs
    device, num = now.device, len(centroids)
    settings = KMeansSettings(n_iter=WARM, n_init=1, backend=name)
    exact = exact_nearest(now, centroids, settings)
    with warnings.catch_warnings():
        # A library that fails would be replaced by torch.
        warnings.filterwarnings('error', message='backend=')
        search = _search(now, centroids, settings)
        found = search()
        costs = [measured(search, device)[1] for _ in range(SEARCHES)]
        seconds = statistics.median(cost.seconds for cost in costs)
        # An epoch that warms up, and gives centroids as they are then.
        init = spherical_kmeans(before, num, settings, init=centroids)
        clustering, cost = measured(
            lambda: spherical_kmeans(now, num, settings, init=init.centroids),
            device,
        )
    operations = 2.0 * len(now) * now.shape[1] * num
    row.update(
        search_seconds=seconds,
        search_mib=max(cost.extra_mib for cost in costs),
        rate=operations / seconds,
        agreement=100 * (found == exact).double().mean().item(),
        seconds=cost.seconds,
        extra_mib=cost.extra_mib,
        objective=clustering.objective,
    )


def _search(
    features: Tensor, centroids: Tensor, settings: KMeansSettings
) -> Callable[[], Tensor]:
    return lambda: find_nearest(features, centroids, settings)


def add_ratios(content: dict[str, Any]) -> None:
    """Add what compares rows: with the recipe, and with the matmul rate."""
    recipes = {
        row['clusters']: row
        for row in content['rows']
        if row['name'] == 'recipe' and 'error' not in row
    }
    for row in content['rows']:
        known = recipes.get(row['clusters'])
        if known is not None and 'seconds' in row:
            row['ratio'] = known['seconds'] / row['seconds']
            row['search_ratio'] = (
                known['search_seconds'] / row['search_seconds']
            )
        if 'rate' in row:
            row['rate_share'] = row['rate'] / content['rates']['bfloat16']
    content['flash'] = verdict(content['rows'])


def verdict(rows: list[dict[str, Any]]) -> str:
    """Whether `flash` earns its place: `faster`, `not faster` or why unknown.

    It does where its k-means takes less than torch's at every K.
    """
    seconds = {
        name: {
            row['clusters']: row['seconds']
            for row in rows
            if row['name'] == name and 'seconds' in row
        }
        for name in ENGINES
    }
    for row in rows:
        if row['name'] == 'flash' and 'seconds' not in row:
            return row.get('unavailable') or f'failed: {row["error"]}'
    if not seconds['flash'] or seconds['flash'].keys() - seconds['torch']:
        return 'not measured'
    faster = all(
        taken < seconds['torch'][k] for k, taken in seconds['flash'].items()
    )
    return 'faster' if faster else 'not faster'


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, from few clusters to many."""
    args = parse_part(argv)
    device, sizes = args.device, SMALL if args.small else SIZES
    record = Record(
        args.json, device, dict(sizes, small=args.small, warm_iterations=WARM)
    )
    content = record.content
    content['rates'] = dict(
        bfloat16=matmul_rate(device, torch.bfloat16, side=sizes['matmul']),
        float32=matmul_rate(device, side=sizes['matmul']),
        copy=copy_rate(device),
    )
    missing = available_backends()
    content['machine']['backends'] = missing
    points = sizes['points']
    epochs = drifting_features(
        points,
        sizes['dims'],
        2,
        groups=min(sizes['clusters']) // 2,
        device=device,
    )
    for num in sizes['clusters']:
        places = torch.arange(num, device=device) * points // num
        centroids = epochs[0][places]
        with record.row('recipe', clusters=num) as row:
            recipe(row, epochs[1], centroids)
        for name in ENGINES:
            with record.row(name, clusters=num) as row:
                if missing[name] is not None:
                    row['unavailable'] = missing[name]
                    continue
                engine(row, name, epochs, centroids)
        add_ratios(content)
        record.write()


if __name__ == '__main__':
    main()
