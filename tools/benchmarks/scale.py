#!/usr/bin/env python
"""Time and memory of a large clustering, against docs/scale.md's formulas.

One k-means of three iterations from given centroids (a warm start) over made
features, of which every rank makes and holds its own part. The rate of the
formulas is measured on samples first, with as many processes as the cores run
at once, each on a sample of its own. Every prediction is printed before its
clustering begins.

python tools/benchmarks/scale.py --json docs/benchmarks/scale.json
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from _clustering import measured
from _tables import machine, markdown, write_json
from mmengine.dist import all_reduce, get_rank, get_world_size, init_dist
from scaling import ITERATIONS, start_ranks
from torch import Tensor

from ahpcl.core import KMeansSettings, spherical_kmeans
from ahpcl.core.clustering.shards import ALONE
from ahpcl.datasets.scan import usable_cores
from ahpcl.engine.rank_shards import RankShards

COLUMNS = dict(
    ranks=('ranks', 'd'),
    gflops=('GFLOP/s of a process', '.1f'),
    seconds=('s', '.1f'),
    predicted_seconds=('predicted, s', '.1f'),
    time_ratio=('ratio', '.2f'),
    mib=('MiB of a worker', '.0f'),
    predicted_mib=('predicted, MiB', '.0f'),
    memory_ratio=('ratio', '.2f'),
)
# Rows that are drawn at once, by a seed of their own, so that any number of
# ranks makes the same features.
_BLOCK = 1 << 16
_CPU = torch.device('cpu')
# Bytes an image while equal images are found, and MiB of blocks and of the
# libraries: rounded from 4 M x 32, K = 200 and 6 M x 96, K = 700.
_PER_IMAGE, _OWN_MIB = 64.0, 64.0


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description='A large clustering against what docs/scale.md predicts.'
    )
    parser.add_argument('--points', type=int, default=10_000_000)
    parser.add_argument('--clusters', type=int, default=1000)
    parser.add_argument('--dims', type=int, default=128)
    parser.add_argument('--ranks', type=int, nargs='+', default=[1, 2, 4])
    parser.add_argument(
        '--sample',
        type=int,
        default=500_000,
        help='points of a process for the rate',
    )
    parser.add_argument('--threads', type=int, default=1, help='of a process')
    parser.add_argument('--json', help='file for the figures')
    parser.add_argument('--as-rank', help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def part(first: int, end: int, dims: int, groups: int) -> Tensor:
    """Unit rows first to end of a mixture that is the same for all ranks."""
    features = torch.empty(end - first, dims)
    centres = torch.randn(
        groups, dims, generator=torch.Generator().manual_seed(0)
    )
    for begin, stop, rows in _blocks(first, end, dims, groups, centres):
        features[begin - first : stop - first] = rows
    return features


def _blocks(
    first: int, end: int, dims: int, groups: int, centres: Tensor
) -> Iterator[tuple[int, int, Tensor]]:
    for block in range(first // _BLOCK, (end - 1) // _BLOCK + 1):
        generator = torch.Generator().manual_seed(1 + block)
        which = torch.randint(groups, (_BLOCK,), generator=generator)
        rows = torch.randn(_BLOCK, dims, generator=generator)
        rows = F.normalize(rows.add_(centres[which]), dim=1)
        start = block * _BLOCK
        begin, stop = max(first, start), min(end, start + _BLOCK)
        yield begin, stop, rows[begin - start : stop - start]


def clustering(points: int, args: argparse.Namespace) -> dict[str, Any]:
    """Cluster on as many ranks as there are; the slowest and largest count."""
    ranks, rank = get_world_size(), get_rank()
    bounds = [points * number // ranks for number in range(ranks + 1)]
    first, end = bounds[rank], bounds[rank + 1]
    groups = max(2, args.clusters // 2)
    features = part(first, end, args.dims, groups)
    init = part(0, args.clusters, args.dims, groups)
    shards = ALONE
    if ranks > 1:
        shards = RankShards(torch.arange(first, end), points)
    settings = KMeansSettings(n_iter=ITERATIONS, backend='torch')
    _, cost = measured(
        lambda: spherical_kmeans(
            features, args.clusters, settings, init=init, shards=shards
        ),
        _CPU,
    )
    most = torch.tensor([cost.seconds, cost.extra_mib], dtype=torch.float64)
    all_reduce(most, 'max')
    held = features.numel() * features.element_size() / 2**20
    return dict(ranks=ranks, seconds=float(most[0]), mib=float(most[1] + held))


def at_once(ranks: int, threads: int) -> int:
    """How many of so many processes have cores of their own."""
    return min(ranks, max(1, usable_cores() // threads))


def predicted(
    points: int, ranks: int, rate: float, args: argparse.Namespace
) -> dict[str, float]:
    """Seconds, and MiB of a worker, by the formulas of docs/scale.md.

    Args:
        points: N.
        ranks: W; no more work at once than there are cores.
        rate: Operations per second of one of the processes that work at once.
        args: K, D and threads.
    """
    clusters, dims = args.clusters, args.dims
    work = operations(points, args)
    held = 4.0 * points * dims / ranks + 16.0 * clusters * dims
    return dict(
        predicted_seconds=work / (rate * at_once(ranks, args.threads)),
        predicted_mib=(held + _PER_IMAGE * points) / 2**20 + _OWN_MIB,
    )


def operations(points: int, args: argparse.Namespace) -> float:
    """Products and sums of the iterations and the exact pass."""
    return 2.0 * points * args.clusters * args.dims * (ITERATIONS + 1)


def rates(args: argparse.Namespace) -> dict[int, float]:
    """Operations per second of a process, by how many work at once."""
    sample = min(args.sample, args.points)
    found = {}
    for processes in sorted({at_once(n, args.threads) for n in args.ranks}):
        row = _on_ranks(processes, sample * processes, args)
        found[processes] = operations(sample, args) / row['seconds']
    return found


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measures, prints and returns the rows."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    if args.as_rank:
        init_dist('pytorch', backend='gloo')
        row = clustering(args.points, args)
        if get_rank() == 0:
            Path(args.as_rank).write_text(json.dumps(row))
        torch.distributed.destroy_process_group()
        return []
    measured_rates = rates(args)
    expected = []
    for ranks in args.ranks:
        rate = measured_rates[at_once(ranks, args.threads)]
        row = dict(ranks=ranks, gflops=rate / 1e9)
        row.update(predicted(args.points, ranks, rate, args))
        expected.append(row)
        print('predicted:', row, flush=True)
    rows = []
    for before in expected:
        row = {**before, **_on_ranks(before['ranks'], args.points, args)}
        row['time_ratio'] = row['seconds'] / row['predicted_seconds']
        row['memory_ratio'] = row['mib'] / row['predicted_mib']
        rows.append(row)
        print('measured:', row, flush=True)
    print(
        f'\n{machine()["cpu"]}, {os.cpu_count()} core(s), {args.threads} '
        f'thread(s) a process; {args.points} x {args.dims}, K = '
        f'{args.clusters}, {ITERATIONS} iterations and an exact pass\n'
    )
    print(markdown(rows, COLUMNS))
    if args.json:
        write_json(
            args.json,
            dict(machine=machine(_CPU), settings=vars(args), rows=rows),
        )
    return rows


def _on_ranks(
    ranks: int, points: int, args: argparse.Namespace
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / 'row.json'
        options = [
            *('--points', str(points), '--dims', str(args.dims)),
            *('--clusters', str(args.clusters), '--as-rank', str(target)),
            *('--threads', str(args.threads)),
        ]
        start_ranks(Path(__file__), ranks, options, args.threads)
        return json.loads(target.read_text())


if __name__ == '__main__':
    main()
