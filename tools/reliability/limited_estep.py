#!/usr/bin/env python
"""Cluster ImageNet's number of features under a real limit of memory.

  python tools/reliability/limited_estep.py --limit 3.0

Makes 1.28 million unit features of 128 dimensions (655 MB), limits the
address space of this process (RLIMIT_AS, as `ulimit -v` does) to what it has
in use before plus --limit GiB, features included, and runs the E-step's
clustering and concentration on them. Prints seconds, peak memory, and the
clusters that came out; exit code 1 if memory did not do.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import _paths  # noqa: F401  # isort: skip
import _threads  # noqa: F401  # isort: skip  (before torch)
import torch

import ahpcl  # noqa: F401
from ahpcl.core import KMeansSettings, build_hierarchy

GIB = 2**30
ROWS = 65_536  # made at once


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--limit', type=float, default=3.0, help='GiB')
    parser.add_argument('--images', type=int, default=1_281_167)
    parser.add_argument('--dim', type=int, default=128)
    parser.add_argument('--clusters', type=int, nargs='+', default=[1000])
    parser.add_argument('--iterations', type=int, default=2)
    parser.add_argument('--backend', default='torch')
    return parser.parse_args(argv)


def status(name: str) -> int:
    """A size of this process from ``/proc``, in bytes."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1]) * 1024
    raise ValueError(f'expected {name} in /proc/self/status, got none')


def features(images: int, dim: int) -> torch.Tensor:
    """Unit rows around a thousand centres."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(1000, dim, generator=generator)
    rows = torch.empty(images, dim)
    for start in range(0, images, ROWS):
        part = rows[start : start + ROWS]
        part.normal_(generator=generator)
        which = torch.randint(1000, (len(part),), generator=generator)
        part += centres[which]
        part /= part.norm(dim=1, keepdim=True)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Clusters under the limit.

    Returns:
        Exit status: 1 if memory did not do.
    """
    args = parse_args(argv)
    before = status('VmSize')
    bound = before + int(args.limit * GIB)
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    start = time.perf_counter()
    try:
        rows = features(args.images, args.dim)
        hierarchy = build_hierarchy(
            rows,
            tuple(args.clusters),
            KMeansSettings(
                n_init=1, n_iter=args.iterations, backend=args.backend
            ),
        )
    except (MemoryError, RuntimeError) as error:
        print(f'{args.limit} GiB did not do: {str(error).splitlines()[0]}')
        return 1
    seconds = time.perf_counter() - start
    print(
        f'{args.images} x {args.dim} in {args.limit} GiB over the '
        f'{before / GIB:.1f} GiB of address space that the libraries have: '
        f'{seconds:.0f} s, peak {status("VmHWM") / GIB:.2f} GiB resident, '
        f'{(status("VmPeak") - before) / GIB:.2f} GiB of address space'
    )
    for level in hierarchy.levels:
        sizes = level.assignments.bincount(minlength=level.num_clusters)
        print(
            f'  K = {level.num_clusters}: {int((sizes > 0).sum())} in use, '
            f'sizes {int(sizes.min())} to {int(sizes.max())}'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
