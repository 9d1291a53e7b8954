#!/usr/bin/env python
"""How the E-step's clustering grows with points, clusters and ranks.

One k-means of three iterations from given centroids (a warm start, the
steady state), over sweeps of N and K on one process with the slope of
log(time) over log(size), and over 1, 2 and 4 ranks with features in parts.

python tools/benchmarks/scaling.py --json docs/benchmarks/scaling.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _clustering import drifting_features, measured, slope
from _floor import copy_rate, floor_seconds, matmul_rate
from _tables import machine, markdown, write_json
from mmengine.dist import get_rank, get_world_size, init_dist

from ahpcl.core import KMeansSettings, spherical_kmeans
from ahpcl.core.clustering.shards import ALONE
from ahpcl.engine.rank_shards import RankShards

COLUMNS = dict(
    sweep=('sweep', ''),
    points=('N', 'd'),
    clusters=('K', 'd'),
    ranks=('ranks', 'd'),
    seconds=('s', '.3f'),
    ratio=('ratio', '.2f'),
    floor=('floor, s', '.3f'),
    extra_mib=('extra MiB', '.0f'),
    slope=('slope', '.2f'),
)
ITERATIONS = 3


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description='How clustering grows with points, clusters and ranks.'
    )
    parser.add_argument('--points', type=int, default=38400)
    parser.add_argument('--clusters', type=int, default=800)
    parser.add_argument('--dims', type=int, default=128)
    parser.add_argument(
        '--point-sweep', type=float, nargs='*', default=[0.25, 0.5, 1, 2, 4]
    )
    parser.add_argument(
        '--cluster-sweep', type=float, nargs='*', default=[0.25, 0.5, 1, 2, 4]
    )
    parser.add_argument('--ranks', type=int, nargs='*', default=[1, 2, 4])
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--precision', default='auto')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=1, help='of a process')
    parser.add_argument('--json', help='file for the figures')
    parser.add_argument('--as-rank', help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def steady(
    points: int, clusters: int, args: argparse.Namespace
) -> dict[str, Any]:
    """The fastest of several warm k-means, on as many ranks as there are."""
    features = drifting_features(
        points, args.dims, 1, groups=max(2, clusters // 2)
    )[0]
    device = torch.device(args.device)
    init = features[torch.arange(clusters) * points // clusters].to(device)
    shards = ALONE
    if get_world_size() > 1:
        own = torch.arange(points).tensor_split(get_world_size())[get_rank()]
        features = features[own]
        shards = RankShards(own.to(device), points)
    features = features.to(device)
    settings = KMeansSettings(
        n_iter=ITERATIONS, backend=args.backend, precision=args.precision
    )
    costs = [
        measured(
            lambda: spherical_kmeans(
                features,
                clusters,
                settings,
                init=init,
                shards=shards,
            ),
            device,
        )[1]
        for _ in range(args.repeats)
    ]
    best = min(costs, key=lambda cost: cost.seconds)
    return dict(
        points=points,
        clusters=clusters,
        ranks=get_world_size(),
        seconds=best.seconds,
        extra_mib=max(cost.extra_mib for cost in costs),
    )


def on_ranks(ranks: int, args: argparse.Namespace) -> dict[str, Any]:
    """The same on several processes of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / 'row.json'
        options = [
            *('--points', str(args.points), '--dims', str(args.dims)),
            *('--clusters', str(args.clusters)),
            *('--repeats', str(args.repeats), '--device', args.device),
            *('--backend', args.backend, '--precision', args.precision),
            *('--threads', str(args.threads), '--as-rank', str(target)),
        ]
        start_ranks(Path(__file__), ranks, options, args.threads)
        return json.loads(target.read_text())


def start_ranks(
    script: Path, ranks: int, options: Sequence[str], threads: int
) -> None:
    """Run a script on several ranks of this machine.

    Raises:
        subprocess.CalledProcessError: If one of them fails.
    """
    subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run'),
            *('--standalone', f'--nproc_per_node={ranks}', str(script)),
            *options,
        ],
        check=True,
        env={**os.environ, 'OMP_NUM_THREADS': str(threads)},
        stderr=subprocess.DEVNULL,
    )


def as_rank(args: argparse.Namespace) -> None:
    """What one of several processes does."""
    cuda = args.device.startswith('cuda')
    init_dist('pytorch', backend='nccl' if cuda else 'gloo')
    row = steady(args.points, args.clusters, args)
    if get_rank() == 0:
        Path(args.as_rank).write_text(json.dumps(row))
    torch.distributed.destroy_process_group()


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measures, prints and returns the rows."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    if args.as_rank:
        as_rank(args)
        return []
    rows: list[dict[str, Any]] = []
    for sweep, factors in (
        ('N', args.point_sweep),
        ('K', args.cluster_sweep),
    ):
        found = []
        for factor in factors:
            points, clusters = args.points, args.clusters
            if sweep == 'N':
                points = int(points * factor)
            else:
                clusters = int(clusters * factor)
            found.append(dict(steady(points, clusters, args), sweep=sweep))
            print(found[-1], flush=True)
        size = 'points' if sweep == 'N' else 'clusters'
        if len(found) > 1:
            found[-1]['slope'] = slope(
                [row[size] for row in found], [row['seconds'] for row in found]
            )
        for row in found:
            row['ratio'] = row['seconds'] / found[0]['seconds']
        rows += found
    found = []
    for ranks in args.ranks:
        row = (
            steady(args.points, args.clusters, args)
            if ranks == 1
            else on_ranks(ranks, args)
        )
        found.append(dict(row, sweep='ranks'))
        found[-1]['ratio'] = found[0]['seconds'] / row['seconds']
        print(found[-1], flush=True)
    rows += found
    device = torch.device(args.device)
    rates = dict(matmul=matmul_rate(device), copy=copy_rate(device))
    for row in rows:
        pairs = float(row['points']) * row['clusters'] * args.dims
        searches = ITERATIONS + 1
        row['floor'] = floor_seconds(
            2 * searches * pairs / row['ranks'],
            4.0 * searches * row['points'] * args.dims / row['ranks'],
            **rates,
        )
    print(
        f'\n{machine()["cpu"]}, {os.cpu_count()} core(s), {args.device}, '
        f'{args.threads} thread(s) a process; ratio: to the first of the '
        'sweep (for ranks, times as fast as one); floor: by the measured '
        f'{rates["matmul"] / 1e9:.0f} GFLOP/s and {rates["copy"] / 1e9:.1f} '
        'GB/s of one process, had every rank as much\n'
    )
    print(markdown(rows, COLUMNS))
    if args.json:
        write_json(
            args.json,
            dict(
                machine=machine(device),
                settings=vars(args),
                rates=rates,
                rows=rows,
            ),
        )
    return rows


if __name__ == '__main__':
    main()
