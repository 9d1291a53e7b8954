"""Initial centroids: k-means++ in parallel rounds.

k-means++ (Arthur and Vassilvitskii, 2007) draws one centroid after the other
with probability proportional to the squared distance to the nearest one so
far. Here a round draws many candidates from the distribution at its start,
and a candidate that an earlier one of the same round brought nearer is
refused with a probability that grows as D_new^2 / D_old^2 falls: nearly the
sequential algorithm, in O(log K) rounds. As in the greedy variant that
scikit-learn uses, every candidate is the best of a few draws: the one that
alone would lower the objective most. Plain rejection sampling would keep it
with probability D_new^2 / D_old^2; since the best draws of one round crowd
where the objective is highest, it is refused at once below one half.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ahpcl.core.clustering.search_engines import rows_per_chunk
from ahpcl.core.clustering.segments import (
    Groups,
    distances_to,
    nearest_with_score,
    rank_in_segment,
)
from ahpcl.core.contrast.batches import full_precision

__all__ = ['seed_centroids']

_MAX_CANDIDATES = 2048
_SAMPLE = 16384
# A round draws a quarter as many as there are: more rounds give better seeds.
_SHARE = 4


def seed_centroids(
    features: Tensor,
    groups: Groups,
    weights: Tensor,
    generator: torch.Generator,
    start: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Centroids to begin k-means with, for every group as many as it has.

    Args:
        features: Points, sorted by group, (N, D) float32.
        groups: Which clusters belong to which points.
        weights: Weight of every point, >= 0, (N,) float32. Points of weight
            0 are not drawn while others are left.
        generator: Source of the draws, on the CPU.
        start: Centroids that are given already, (K, D), and which of these
            rows count, (K,) bool; None where all are to be drawn.

    Returns:
        Centroids, (K, D), cluster by cluster: the given ones, and rows of
        `features`, which are distinct points where a group has enough of
        them and repeat otherwise.
    """
    device, num_groups = features.device, groups.num_groups
    of_cluster = groups.of_cluster
    if start is None:
        chosen = features.new_zeros(groups.num_clusters, features.shape[1])
        done = torch.zeros_like(of_cluster, dtype=torch.bool)
    else:
        chosen, done = start[0].clone(), start[1].clone()
    squared = torch.full((len(features),), torch.inf, device=device)
    squared = _nearer(
        features, squared, groups, chosen[done], of_cluster[done]
    )
    sizes = torch.bincount(groups.of_point, minlength=num_groups)
    first = sizes.cumsum(0) - sizes
    last = (first + sizes - 1).clamp(min=0)
    tries = 2 + int(math.log(groups.num_clusters))

    while True:
        slots = (~done).nonzero().squeeze(1)
        need = torch.bincount(of_cluster[slots], minlength=num_groups)
        mass = torch.where(torch.isinf(squared), 1.0, squared) * weights
        ends = torch.cat(
            [mass.new_zeros(1, dtype=torch.float64), mass.double().cumsum(0)]
        )
        begin = ends[first]
        total = ends[first + sizes] - begin
        have = (groups.counts - need) // _SHARE
        batch = torch.minimum(need, have.clamp(min=1))
        batch = torch.where(total > 0, batch, 0)
        group = torch.repeat_interleave(
            torch.arange(num_groups, device=device), batch
        )[:_MAX_CANDIDATES]
        if len(group) == 0:
            break
        draws = torch.rand(
            len(group), 1 + tries, generator=generator, dtype=torch.float64
        ).to(device)
        offers = torch.searchsorted(
            ends,
            begin[group, None] + draws[:, 1:] * total[group, None],
            right=True,
        )
        offers = (offers - 1).clamp(
            min=first[group, None], max=last[group, None]
        )
        gain = _gains(features, squared, weights, groups, offers, group)
        point = offers.gather(1, gain.argmax(dim=1, keepdim=True)).squeeze(1)
        keep = _accept(features[point], squared[point], group, draws[:, 0])
        point, group = point[keep], group[keep]
        offset = (need.cumsum(0) - need)[group]
        slot = slots[offset + rank_in_segment(group, num_groups)]
        chosen[slot] = features[point]
        done[slot] = True
        squared = _nearer(features, squared, groups, features[point], group)

    # Groups with fewer distinct points than clusters: rows repeat.
    group = of_cluster[slots]
    step = rank_in_segment(group, num_groups) % sizes[group].clamp(min=1)
    chosen[slots] = features[first[group] + step]
    return chosen


def _gains(
    features: Tensor,
    squared: Tensor,
    weights: Tensor,
    groups: Groups,
    offers: Tensor,
    group: Tensor,
) -> Tensor:
    """How much every offered point alone would lower the objective.

    Estimated on every n-th point where there are many.

    Args:
        features: (N, D), sorted by group.
        squared: Squared distances so far, infinite in an empty group, (N,).
        weights: (N,).
        groups: Of the points.
        offers: Rows of `features`, (C, T).
        group: Group of every row of offers, ascending, (C,).

    Returns:
        (C, T) float32.
    """
    step = slice(None, None, max(1, len(features) // _SAMPLE))
    sample, of_point = features[step], groups.of_point[step]
    squared, weights = squared[step], weights[step]
    norms = sample.square().sum(dim=1)
    squared = torch.where(torch.isinf(squared), 4 * norms.max(), squared)
    candidates = features[offers.flatten()]
    owner = group.repeat_interleave(offers.shape[1])
    counts = torch.bincount(owner, minlength=groups.num_groups)
    stops = counts.cumsum(0)
    rows = min(2048, rows_per_chunk(len(candidates), features.device))
    edges = torch.arange(0, len(sample), rows, device=features.device)
    ends = (edges + rows - 1).clamp(max=len(sample) - 1)
    low = (stops - counts)[of_point[edges]]
    bounds = torch.stack([edges, low, stops[of_point[ends]]], dim=1).tolist()
    bias = candidates.square().sum(dim=1)
    gains = torch.zeros_like(bias)
    with full_precision(features.device):
        for start, left, right in bounds:
            part = slice(start, start + rows)
            distance = torch.addmm(
                bias[left:right],
                sample[part],
                candidates[left:right].t(),
                alpha=-2,
            )
            drop = (squared - norms)[part, None] - distance
            drop = drop.clamp_(min=0).mul_(weights[part, None])
            if groups.num_groups > 1:
                other = of_point[part, None] != owner[left:right]
                drop.masked_fill_(other, 0)
            gains[left:right] += drop.sum(dim=0)
    return gains.view_as(offers)


def _accept(
    candidates: Tensor, squared: Tensor, group: Tensor, draws: Tensor
) -> Tensor:
    """Which candidates to keep, as if they came one after the other.

    Candidate i is refused if an accepted earlier one of its group came so
    near that `d_ij^2 < (1 + u_i) / 2 * D_i^2`. Every pass decides those
    candidates whose earlier rivals are decided.

    Args:
        candidates: (C, D).
        squared: D_i^2 before this round, infinite in an empty group, (C,).
        group: (C,).
        draws: u_i in [0, 1), (C,).

    Returns:
        (C,) bool.
    """
    limit = (0.5 + 0.5 * draws) * torch.where(
        torch.isinf(squared), 0.0, squared
    ).double()
    near = torch.cdist(candidates, candidates).square() < limit[:, None]
    rival = (near & (group[:, None] == group[None, :])).tril(-1).float()
    accepted = torch.zeros_like(group, dtype=torch.float32)
    open_ = (squared > 0).float()
    while bool(open_.any()):
        open_ = open_ * (rival @ accepted == 0)
        new = open_ * (rival @ open_ == 0)
        accepted = accepted + new
        open_ = open_ - new
    return accepted > 0


def _nearer(
    features: Tensor,
    squared: Tensor,
    groups: Groups,
    centroids: Tensor,
    group: Tensor,
) -> Tensor:
    """Squared distances to the nearest centroid, new ones counted in."""
    order = torch.argsort(group, stable=True)
    centroids = centroids[order]
    counts = torch.bincount(group, minlength=groups.num_groups)
    starts = counts.cumsum(0) - counts
    found, score = nearest_with_score(
        features, centroids, groups.of_point, starts, counts
    )
    # The exact distance, 0 of equal rows, only where it may be the least.
    norm = features.square().sum(dim=1)
    near = norm - 2 * score <= squared + 1e-4 * norm + 1e-12
    reached = ((found >= 0) & near).nonzero().squeeze(1)
    squared = squared.clone()
    new = distances_to(features[reached], centroids, found[reached]).square()
    squared[reached] = torch.minimum(squared[reached], new)
    return squared
