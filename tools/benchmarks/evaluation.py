#!/usr/bin/env python
"""Seconds of the evaluation tasks, beside a named alternative in one run.

Synthetic features of the size of TIN-100's image split with a ResNet-18:
20,000 references and 5,000 queries of 100 classes, 512 dimensions.

python tools/benchmarks/evaluation.py --threads 1 --json bench.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from _tables import machine, markdown, write_json
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from ahpcl.core.metrics.episodes import few_shot_episodes, sample_episodes
from ahpcl.core.metrics.knn import knn_classify
from ahpcl.evaluation.tasks import build_tasks

COLUMNS = dict(
    task=('task', ''),
    seconds=('seconds', '.2f'),
    other=('alternative', ''),
    other_seconds=('seconds', '.2f'),
    ratio=('times as fast', '.1f'),
    note=('agreement', ''),
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description='Seconds of the evaluation tasks.'
    )
    parser.add_argument('--classes', type=int, default=100)
    parser.add_argument('--references', type=int, default=200, help='a class')
    parser.add_argument('--queries', type=int, default=50, help='a class')
    parser.add_argument('--dims', type=int, default=512)
    parser.add_argument('--episodes', type=int, default=2000)
    parser.add_argument(
        '--slow-episodes',
        type=int,
        default=50,
        help='that the alternative classifies; its seconds are scaled up',
    )
    parser.add_argument('--threads', type=int, help='of torch')
    parser.add_argument(
        '--device', default='cpu', help='of ours; the alternatives use CPUs'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', help='file for the figures')
    return parser.parse_args(argv)


def synthetic(args: argparse.Namespace) -> tuple[torch.Tensor, ...]:
    """Gaussian classes that overlap: features, labels, roles."""
    generator = torch.Generator().manual_seed(args.seed)
    each = args.references + args.queries
    centres = torch.randn(args.classes, args.dims, generator=generator)
    labels = torch.arange(args.classes).repeat_interleave(each)
    noise = torch.randn(len(labels), args.dims, generator=generator)
    query = torch.arange(each).repeat(args.classes) >= args.references
    return centres[labels] * 0.25 + noise, labels, query


def timed(work: Callable[[], Any], device: str) -> tuple[Any, float]:
    """What some work gives, and its seconds."""
    start = time.perf_counter()
    found = work()
    if device.startswith('cuda'):
        torch.cuda.synchronize()
    return found, time.perf_counter() - start


def knn(
    features: torch.Tensor,
    labels: torch.Tensor,
    query: torch.Tensor,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Weighted kNN, k = 20, beside scikit-learn's."""
    moved = features.to(args.device)
    ours, seconds = timed(
        lambda: knn_classify(
            moved[~query], labels[~query], moved[query], k=20
        ).cpu(),
        args.device,
    )
    other = KNeighborsClassifier(
        20,
        metric='cosine',
        algorithm='brute',
        weights=lambda distance: np.exp((1 - distance) / 0.07),
    )

    def classify() -> np.ndarray:
        other.fit(features[~query].numpy(), labels[~query].numpy())
        return other.predict(features[query].numpy())

    theirs, other_seconds = timed(classify, 'cpu')
    return dict(
        task='kNN, k = 20, weighted',
        seconds=seconds,
        other='scikit-learn KNeighborsClassifier',
        other_seconds=other_seconds,
        note=f'{100 * (ours.numpy() == theirs).mean():.2f} % equal answers',
    )


def few_shot(
    features: torch.Tensor,
    labels: torch.Tensor,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """5-way 5-shot episodes beside scikit-learn, one after the other."""
    settings = dict(ways=5, shots=5, queries=15, seed=args.seed)
    moved = features.to(args.device)
    _, seconds = timed(
        lambda: few_shot_episodes(
            moved,
            labels,
            episodes=args.episodes,
            **settings,
        ),
        args.device,
    )
    rows = torch.nn.functional.normalize(features, dim=1).numpy()
    slow = min(args.slow_episodes, args.episodes)
    draws = sample_episodes(labels, episodes=slow, **settings)
    truth = np.arange(5)

    def loop() -> float:
        hits = []
        for support, query in draws:
            for shown, asked in zip(support, query, strict=True):
                model = NearestCentroid()
                model.fit(rows[shown.flatten()], truth.repeat(5))
                answer = model.predict(rows[asked.flatten()])
                hits.append((answer == truth.repeat(15)).mean())
        return 100 * float(np.mean(hits))

    theirs, other_seconds = timed(loop, 'cpu')
    ours = few_shot_episodes(moved, labels, episodes=slow, **settings)
    return dict(
        task=f'{args.episodes} episodes, 5-way 5-shot, nearest_centroid',
        seconds=seconds,
        other=f'scikit-learn, episode by episode ({slow}, scaled)',
        other_seconds=other_seconds * args.episodes / slow,
        note=f'accuracy {ours.accuracy:.2f} and {theirs:.2f}',
    )


def tasks(
    features: torch.Tensor,
    labels: torch.Tensor,
    query: torch.Tensor,
    args: argparse.Namespace,
) -> list[dict[str, Any]]:
    """The other tasks of evaluate.py with their defaults."""
    rows = []
    names = ('linear', 'cluster', 'svm', 'health')
    for task, metrics in build_tasks(names).items():
        for metric in metrics:
            moved = features.to(args.device)
            _, seconds = timed(
                lambda m=metric, f=moved: m.measure(f, labels, query),
                args.device,
            )
            name = f'{task}: {type(metric).__name__}'
            rows.append(dict(task=name, seconds=seconds))
            print(f'{name}: {seconds:.2f} s', flush=True)
    return rows


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measures, prints and returns the rows."""
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    features, labels, query = synthetic(args)
    rows = [
        knn(features, labels, query, args),
        few_shot(features, labels, args),
        *tasks(features, labels, query, args),
    ]
    for row in rows:
        if 'other_seconds' in row:
            row['ratio'] = row['other_seconds'] / row['seconds']
    settings = dict(vars(args), threads=torch.get_num_threads())
    print(
        f'\n{machine()["cpu"]}, torch on {args.device}, '
        f'{settings["threads"]} thread(s), {len(features)} x {args.dims}\n'
    )
    print(markdown(rows, COLUMNS))
    if args.json:
        write_json(
            args.json, dict(machine=machine(), settings=settings, rows=rows)
        )
    return rows


if __name__ == '__main__':
    main()
