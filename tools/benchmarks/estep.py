#!/usr/bin/env python
"""Seconds, objective and memory of the E-step's clustering.

Against PCL's recipe as published (20 iterations, best of 5 random starts),
run in the same call with the same threads, over consecutive epochs.

python tools/benchmarks/estep.py --threads 1 --json docs/benchmarks/estep.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from _clustering import (
    drifting_features,
    measured,
    partition_objective,
    pcl_recipe,
    read_features,
)
from _floor import copy_rate, floor_seconds, matmul_rate
from _tables import machine, markdown, write_json
from mmengine.config import Config
from torch import Tensor

from ahpcl.compat.configs import PREFIX, find_config
from ahpcl.core import PrototypeHierarchy
from ahpcl.core.clustering.search import available_backends
from ahpcl.engine import ClusterRequest, KMeansClustering

COLUMNS = dict(
    name=('clustering', ''),
    seconds=('s per epoch', '.2f'),
    ratio=('times as fast', '.1f'),
    cpu_seconds=('CPU s', '.2f'),
    cpu_ratio=('ratio', '.1f'),
    excess=('objective, mean', '+.2f'),
    worst=('worst', '+.2f'),
    extra_mib=('extra MiB', '.0f'),
    floor=('floor, s', '.2f'),
    note=('', ''),
)
CONFIGURED = 'as configured'


def configured() -> tuple[dict[str, Any], int]:
    """Clustering settings of AHPCL's configs, and epochs between E-steps."""
    hook = Config.fromfile(find_config(f'{PREFIX}ahpcl_digits.py'))
    found = next(h for h in hook.custom_hooks if 'clustering' in h)
    settings = {k: v for k, v in found.clustering.items() if k != 'type'}
    return settings, found.get('interval', 1)


_CONFIGURED, _INTERVAL = configured()
_ONE = dict(n_init=1)
_WARM = dict(n_init=1, warm_start=True, restart_every=None)
# Every variant: settings, linkage, and what it is.
VARIANTS: dict[str, tuple[dict[str, Any], str, str]] = {
    CONFIGURED: (
        _CONFIGURED,
        'independent',
        'an E-step every {} epochs; one start every {}, between at most {} '
        'iterations from the images'.format(
            _INTERVAL, _CONFIGURED['restart_every'], _CONFIGURED['warm_iter']
        ),
    ),
    "cold, PCL's settings": ({}, 'independent', 'n_init 5, n_iter 20'),
    'cold, one start': (_ONE, 'independent', 'n_init 1, n_iter 20'),
    'warm, centroids': (_WARM, 'independent', '3 iterations'),
    'warm, images': (
        dict(_WARM, warm_from='images', warm_iter=5),
        'independent',
        '5 iterations',
    ),
    'warm, agglomerative': (
        _WARM,
        'agglomerative',
        'coarse levels from the finest, 3 iterations',
    ),
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description="Seconds, objective and memory of the E-step's clustering."
    )
    parser.add_argument('--features', help='file of epoch_features.py')
    parser.add_argument('--points', type=int, default=38400)
    parser.add_argument('--dims', type=int, default=128)
    parser.add_argument(
        '--clusters', type=int, nargs='+', default=[800, 1600, 3200]
    )
    parser.add_argument(
        '--epochs', type=int, default=3, help='that are compared'
    )
    parser.add_argument(
        '--backends', nargs='+', default=['auto'], help='of ours'
    )
    parser.add_argument('--precision', default='auto', help='of ours')
    parser.add_argument('--chunk-mib', type=float)
    parser.add_argument(
        '--variants', nargs='+', choices=VARIANTS, default=list(VARIANTS)
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', help='file for the figures')
    return parser.parse_args(argv)


def published(
    epochs: Sequence[Tensor], counts: Sequence[int], seed: int
) -> tuple[dict[str, Any], list[dict[int, float]]]:
    """PCL's recipe: its row, and its objectives by epoch and K."""
    seconds, cpu, memory, objectives = 0.0, 0.0, 0.0, []
    for number, features in enumerate(epochs[1:], 1):
        objectives.append({})
        for k in counts:
            found, cost = measured(
                lambda f=features, k=k, n=number: pcl_recipe(f, k, seed + n),
                features.device,
            )
            seconds += cost.seconds
            cpu += cost.cpu_seconds
            memory = max(memory, cost.extra_mib)
            objectives[-1][k] = partition_objective(features, found, k)
            print(
                f'PCL, epoch {number}, K = {k}: {cost.seconds:.1f} s',
                flush=True,
            )
    by = 'faiss-cpu' if epochs[0].device.type == 'cpu' else 'float32 torch'
    row = dict(
        name=f'PCL recipe, {by}',
        seconds=seconds / len(objectives),
        cpu_seconds=cpu / len(objectives),
        ratio=1.0,
        excess=0.0,
        worst=0.0,
        extra_mib=memory,
        searches=100 + 1,
        note='n_init 5, n_iter 20, random starts',
    )
    return row, objectives


def ours(
    name: str,
    backend: str,
    epochs: Sequence[Tensor],
    args: argparse.Namespace,
    objectives: Sequence[dict[int, float]],
) -> dict[str, Any]:
    """A variant of ours over the same epochs.

    The first epoch, from which a warm start begins, is not counted. As
    configured there is an E-step in every so many of them; seconds are per
    epoch all the same.
    """
    settings, linkage, note = VARIANTS[name]
    interval = _INTERVAL if name == CONFIGURED else 1
    clustering = KMeansClustering(
        **settings,
        backend=backend,
        precision=args.precision,
        chunk_mib=args.chunk_mib,
    )
    previous: PrototypeHierarchy | None = None
    seconds, cpu, memory, excess = 0.0, 0.0, 0.0, []
    for number in range(0, len(epochs), interval):
        features = epochs[number]
        found, cost = measured(
            lambda f=features, n=number, p=previous: clustering(
                f,
                ClusterRequest(
                    num_clusters=tuple(args.clusters),
                    linkage=linkage,
                    temperature=0.2,
                    seed=args.seed + n,
                    previous=p,
                    epoch=n,
                    interval=interval,
                ),
            ),
            features.device,
        )
        previous = found
        if number == 0:
            continue
        seconds += cost.seconds
        cpu += cost.cpu_seconds
        memory = max(memory, cost.extra_mib)
        for level in found.levels:
            k = level.num_clusters
            got = partition_objective(features, level.assignments, k)
            known = objectives[number - 1][k]
            excess.append(dict(epoch=number, k=k, value=got / known - 1))
        print(f'{name}, epoch {number}: {cost.seconds:.2f} s', flush=True)
    values = [100 * e['value'] for e in excess]
    return dict(
        name=name if backend == 'auto' else f'{name}, {backend}',
        variant=name,
        seconds=seconds / (len(epochs) - 1),
        cpu_seconds=cpu / (len(epochs) - 1),
        excess=sum(values) / len(values),
        worst=max(values),
        extra_mib=memory,
        levels=excess,
        note=note,
    )


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measures, prints and returns the rows."""
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
        _limit_faiss(args.threads)
    device = torch.device(args.device)
    if args.features:
        epochs = read_features(args.features)[: args.epochs + 1]
        epochs = [rows[: args.points] for rows in epochs]
    else:
        epochs = drifting_features(
            args.points,
            args.dims,
            args.epochs + 1,
            groups=max(args.clusters) // 2,
            seed=args.seed,
        )
    epochs = [rows.to(device) for rows in epochs]
    first, objectives = published(epochs, args.clusters, args.seed)
    rows = [first]
    for backend in args.backends:
        for name in args.variants:
            rows.append(ours(name, backend, epochs, args, objectives))
    num, dims = epochs[0].shape
    rates = dict(matmul=matmul_rate(device), copy=copy_rate(device))
    once = 2.0 * num * dims * sum(args.clusters)
    moved = 4.0 * num * dims * len(args.clusters)
    for row in rows:
        row['ratio'] = first['seconds'] / row['seconds']
        row['cpu_ratio'] = first['cpu_seconds'] / row['cpu_seconds']
        searches = row.get('searches') or _searches(row)
        row['floor'] = floor_seconds(
            searches * once, searches * moved, **rates
        )
    settings = dict(
        vars(args), threads=torch.get_num_threads(), points=num, dims=dims
    )
    print(
        f'\n{machine(device)["device"]}, {settings["threads"]} thread(s), '
        f'{num} x {dims}, K = {args.clusters}; objective in percent of the '
        f'recipe; matmul '
        f'{rates["matmul"] / 1e9:.0f} GFLOP/s, copy '
        f'{rates["copy"] / 1e9:.1f} GB/s\n'
    )
    print(markdown(rows, COLUMNS))
    if args.json:
        write_json(
            args.json,
            dict(
                machine=dict(machine(device), backends=available_backends()),
                settings=settings,
                rates=rates,
                rows=rows,
            ),
        )
    return rows


def _searches(row: dict[str, Any]) -> float:
    """Passes over all pairs per epoch that a variant makes at most."""
    settings = VARIANTS[row['variant']][0]
    interval = _INTERVAL if row['variant'] == CONFIGURED else 1
    cold = settings.get('n_init', 5) * 21
    if not settings.get('warm_start'):
        return cold / interval
    warm = settings.get('warm_iter', 3) + 1
    every = settings['restart_every']
    if every is None:
        return warm / interval
    return warm / interval + (cold - warm) / max(every, interval)


def _limit_faiss(threads: int) -> None:
    import faiss

    faiss.omp_set_num_threads(threads)


if __name__ == '__main__':
    main()
