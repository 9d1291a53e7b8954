"""One rank of the tests of features in parts."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank, init_dist

from ahpcl.core import KMeansSettings, build_hierarchy, spherical_kmeans
from ahpcl.core.clustering.warm import moved_centroids
from ahpcl.engine.extraction import (
    FeatureShard,
    _owned,
    shard_of,
    whole_features,
)
from ahpcl.engine.rank_shards import RankShards

CASES = {
    'blobs': dict(n=1501, k=(60, 20, 5), linkage='independent'),
    'merged': dict(n=1501, k=(60, 20, 5), linkage='agglomerative'),
    'repeats': dict(n=400, k=(150,), linkage='independent'),
    'few': dict(n=3, k=(2,), linkage='independent'),
    'part': dict(n=1501, k=(12,), linkage='independent', max_points=30),
    'plain': dict(n=1501, k=(40,), linkage='independent', spherical=False),
    'warm': dict(n=1501, k=(40,), linkage='independent', warm=True),
}


def points(n: int, repeats: bool = False) -> torch.Tensor:
    """Blobs; with repeats, a few distinct points, most of them often."""
    generator = torch.Generator().manual_seed(n)
    centres = torch.randn(25, 16, generator=generator)
    which = torch.randint(25, (n,), generator=generator)
    noise = torch.randn(n, 16, generator=generator)
    x = F.normalize(centres[which] + 0.6 * noise, dim=1)
    if repeats:
        x = x[torch.randint(170, (n,), generator=generator)]
    return x


def arguments(case: dict, x: torch.Tensor) -> dict:
    """Arguments of `build_hierarchy`."""
    init = {}
    if case.get('warm'):
        k = case['k'][0]
        init = {k: x[:k].clone()}
        # Half of the starting centroids are where no point is.
        init[k][::2] = -x.mean(0) / x.mean(0).norm()
    named = ('n', 'k', 'warm', 'linkage')
    settings = KMeansSettings(
        n_init=2,
        n_iter=8,
        backend='torch',
        warm_iter=4,
        **{k: v for k, v in case.items() if k not in named},
    )
    return dict(settings=settings, linkage=case['linkage'], init=init)


def own_indices(n: int, rank: int, world: int) -> torch.Tensor:
    """Uneven parts that are no ranges: the first rank has the most."""
    return torch.tensor(
        [i for i in range(n) if min(i % (world + 2), world - 1) == rank],
        dtype=torch.long,
    )


def features_of_images(indices: torch.Tensor) -> torch.Tensor:
    """Rows that tell their image."""
    return torch.stack([indices.float(), -indices.float()], dim=1)


def main(folder: str) -> None:
    """Cluster all cases and write what came out."""
    init_dist('pytorch', backend='gloo')
    rank, world = get_rank(), torch.distributed.get_world_size()
    seen = {}
    for name, case in CASES.items():
        x = points(case['n'], repeats=name == 'repeats')
        own = own_indices(len(x), rank, world)
        shards = RankShards(own, len(x))
        hierarchy = build_hierarchy(
            x[own], case['k'], shards=shards, **arguments(case, x)
        )
        seen[name] = hierarchy.state_dict()
    x = points(1501)
    own = own_indices(len(x), rank, world)
    result = spherical_kmeans(x[own], 20, shards=RankShards(own, len(x)))
    seen['result'] = (own, result.assignments, result.objective)
    # Images 0 to 9 in one cluster, none in the last, which stays.
    before = torch.arange(len(x)).clamp(min=9) % 20 % 19
    seen['moved'] = moved_centroids(
        x[own], before, -x[:20], shards=RankShards(own, len(x))
    )
    # As a sampler pads: the last ranks get the first images once more.
    padded = torch.arange(rank, -(-8 // world) * world, world) % 8
    places, missing = _owned(padded, 8)
    seen['owned'] = padded[places], missing
    seen['missing'] = _owned(padded, 10)[1]
    own = features_of_images(padded[places])
    shards = RankShards(padded[places], 8)
    seen['whole'] = whole_features(FeatureShard(own, shards))
    seen['own_range'] = shard_of(features_of_images(torch.arange(8))).features
    torch.save(seen, Path(folder) / f'rank_{rank}.pt')
    torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main(sys.argv[1])
