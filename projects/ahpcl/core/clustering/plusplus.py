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

from ahpcl.core.clustering.rows import distances_to
from ahpcl.core.clustering.search_engines import rows_per_chunk
from ahpcl.core.contrast.batches import full_precision

__all__ = ['seed_centroids']

_MAX_CANDIDATES = 2048
_SAMPLE = 16384
# A round draws a quarter as many as there are: more rounds give better seeds.
_SHARE = 4


def seed_centroids(
    features: Tensor,
    num_clusters: int,
    weights: Tensor,
    generator: torch.Generator,
    given: Tensor | None = None,
) -> Tensor:
    """Draw the centroids that k-means begins with.

    Args:
        features: Points, (N, D) float32.
        num_clusters: K.
        weights: Weight of every point, >= 0, (N,) float32. Points of weight
            0 are not drawn while others are left.
        generator: Source of the draws, on the CPU.
        given: Centroids that are given already, (k, D) for k below K; None
            where all are to be drawn.

    Returns:
        Centroids, (K, D): the given ones first, then rows of `features`,
        which are distinct points where there are enough of them and repeat
        otherwise.

    Examples:
        >>> points, source = torch.eye(4), torch.Generator().manual_seed(0)
        >>> seeds = seed_centroids(points, 4, torch.ones(4), source)
        >>> sorted(seeds.argmax(dim=1).tolist())
        [0, 1, 2, 3]
    """
    device = features.device
    chosen = features[:0] if given is None else given
    squared = torch.full((len(features),), torch.inf, device=device)
    squared = _nearer(features, squared, chosen)
    tries = 2 + int(math.log(num_clusters))
    while len(chosen) < num_clusters:
        mass = torch.where(torch.isinf(squared), 1.0, squared) * weights
        ends = torch.cat(
            [mass.new_zeros(1, dtype=torch.float64), mass.double().cumsum(0)]
        )
        if not float(ends[-1]) > 0:
            break
        number = min(
            num_clusters - len(chosen),
            max(1, len(chosen) // _SHARE),
            _MAX_CANDIDATES,
        )
        draws = torch.rand(
            number, 1 + tries, generator=generator, dtype=torch.float64
        ).to(device)
        offers = torch.searchsorted(ends, draws[:, 1:] * ends[-1], right=True)
        offers = (offers - 1).clamp(min=0, max=len(features) - 1)
        gain = _gains(features, squared, weights, offers)
        point = offers.gather(1, gain.argmax(dim=1, keepdim=True)).squeeze(1)
        keep = _accept(features[point], squared[point], draws[:, 0])
        new = features[point[keep]]
        chosen = torch.cat([chosen, new])
        squared = _nearer(features, squared, new)

    # There are fewer distinct points than clusters: rows repeat.
    missing = torch.arange(num_clusters - len(chosen), device=device)
    return torch.cat([chosen, features[missing % len(features)]])


def _gains(
    features: Tensor, squared: Tensor, weights: Tensor, offers: Tensor
) -> Tensor:
    """How much every offered point alone would lower the objective.

    Estimated on every n-th point where there are many.

    Args:
        features: (N, D).
        squared: Squared distances so far, infinite before the first, (N,).
        weights: (N,).
        offers: Rows of `features`, (C, T).

    Returns:
        (C, T) float32.
    """
    step = slice(None, None, max(1, len(features) // _SAMPLE))
    sample, squared, weights = features[step], squared[step], weights[step]
    norms = sample.square().sum(dim=1)
    squared = torch.where(torch.isinf(squared), 4 * norms.max(), squared)
    candidates = features[offers.flatten()]
    rows = min(2048, rows_per_chunk(len(candidates), features.device))
    bias = candidates.square().sum(dim=1)
    gains = torch.zeros_like(bias)
    with full_precision(features.device):
        for start in range(0, len(sample), rows):
            part = slice(start, start + rows)
            distance = torch.addmm(
                bias, sample[part], candidates.t(), alpha=-2
            )
            drop = (squared - norms)[part, None] - distance
            drop = drop.clamp_(min=0).mul_(weights[part, None])
            gains += drop.sum(dim=0)
    return gains.view_as(offers)


def _accept(candidates: Tensor, squared: Tensor, draws: Tensor) -> Tensor:
    """Which candidates to keep, as if they came one after the other.

    Candidate i is refused if an accepted earlier one came so near that
    `d_ij^2 < (1 + u_i) / 2 * D_i^2`. Every pass decides those candidates
    whose earlier rivals are decided.

    Args:
        candidates: (C, D).
        squared: D_i^2 before this round, infinite before the first, (C,).
        draws: u_i in [0, 1), (C,).

    Returns:
        (C,) bool.
    """
    limit = (0.5 + 0.5 * draws) * torch.where(
        torch.isinf(squared), 0.0, squared
    ).double()
    near = torch.cdist(candidates, candidates).square() < limit[:, None]
    rival = near.tril(-1).float()
    accepted = torch.zeros_like(squared)
    open_ = (squared > 0).float()
    while bool(open_.any()):
        open_ = open_ * (rival @ accepted == 0)
        new = open_ * (rival @ open_ == 0)
        accepted = accepted + new
        open_ = open_ - new
    return accepted > 0


def _nearer(features: Tensor, squared: Tensor, centroids: Tensor) -> Tensor:
    """Squared distances to the nearest centroid, new ones counted in."""
    if len(centroids) == 0:
        return squared
    found, score = _nearest_with_score(features, centroids)
    # The exact distance, 0 of equal rows, only where it may be the least.
    norm = features.square().sum(dim=1)
    near = norm - 2 * score <= squared + 1e-4 * norm + 1e-12
    reached = near.nonzero().squeeze(1)
    squared = squared.clone()
    new = distances_to(features[reached], centroids, found[reached]).square()
    squared[reached] = torch.minimum(squared[reached], new)
    return squared


def _nearest_with_score(
    features: Tensor, centroids: Tensor
) -> tuple[Tensor, Tensor]:
    """Nearest centroid of every point, (N,), and its `x.c - |c|^2 / 2`."""
    device = features.device
    found = torch.empty(len(features), dtype=torch.long, device=device)
    score = features.new_empty(len(features))
    rows = min(2048, rows_per_chunk(len(centroids), device))
    bias = centroids.square().sum(dim=1).mul_(-0.5)
    with full_precision(device), torch.no_grad():
        for start in range(0, len(features), rows):
            part = slice(start, start + rows)
            scores = torch.addmm(bias, features[part], centroids.t())
            score[part], found[part] = scores.max(dim=1)
    return found, score
