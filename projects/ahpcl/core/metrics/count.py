"""How many kinds there are: a number, an interval and the evidence."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ahpcl.core.clustering.agreement import adjusted_rand
from ahpcl.core.clustering.kmeans import spherical_kmeans
from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.inputs import check_features
from ahpcl.core.metrics.count_evidence import (
    Halves,
    candidate_counts,
    compare_halves,
    restart_agreement,
    structureless_like,
)
from ahpcl.core.metrics.count_result import (
    Candidate,
    CountSettings,
    KindCount,
)
from ahpcl.core.seeding import seed_from

__all__ = ['count_kinds']

_RESTARTS = 3
_REFINED = 4  # candidates that are added beside the best one


def count_kinds(
    features: Tensor,
    settings: CountSettings = CountSettings(),
    *,
    views: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
) -> KindCount:
    """Say how many kinds of images there are, or that it cannot be said.

    For every candidate K two random halves of the images are clustered by
    spherical k-means from cold starts, and the clusters of each are given to
    all images. Kinds make the halves agree (Lange et al., Neural Computation
    2004) and their clusters separate (Rousseeuw 1987). Both also happen
    without kinds: two clusters along a dominant direction agree on any data,
    and silhouettes fall with K. So what counts is the excess over clouds
    without structure that have the covariance of the features, as in the gap
    statistic (Tibshirani et al., JRSS B 2001): the *support* of K is the
    mean of both excesses, and the number is the K that has most of it.

    The interval goes from the best candidate to both sides as far as
    support is not told apart from its own (95 %, paired over halves). A
    number is given if the halves agree on it, its support is clearly above
    0, it is not the last candidate, and the interval is narrow; else
    `reason` says what is missing.

    It counts what the *features* keep apart: colours, if the encoder sees
    colours. Kinds much rarer than the others, of fewer than some 50 images,
    or that lie in one dense region, are not counted. Of kinds within kinds
    it names one level, and the others in a note where they stand out.

    Args:
        features: Features, (N, D), floating point; they are normalised.
        settings: How to count.
        views: Features of some images, and of another view of them, such as
            grey ones, (M, D) each: do they stay in their clusters?
        seed: Seed of all random draws.

    Raises:
        ValueError: If the features are no finite rows, or the two of the
            views have not the same shape, or another width.
        ImportError: If scikit-learn is not installed.

    Examples:
        >>> source = torch.Generator().manual_seed(0)
        >>> kinds = torch.randn(4, 16, generator=source)
        >>> noise = torch.randn(200, 16, generator=source)
        >>> found = count_kinds(kinds.repeat(50, 1) + 0.3 * noise)
        >>> found.number, found.interval
        (4, (4, 4))
    """
    rows = _unit_rows(features)
    other = None if views is None else _unit_views(views, rows.shape[1])
    if len(rows) > settings.max_images:
        source = torch.Generator().manual_seed(seed_from(seed, 'images'))
        kept = torch.randperm(len(rows), generator=source)
        kept = kept[: settings.max_images].sort().values
        rows = rows[kept]
    distinct = len(torch.unique(rows, dim=0))
    most = min(settings.max_kinds, distinct // settings.images_per_kind)
    if most < 3:
        least = 3 * settings.images_per_kind
        reason = (
            f'{distinct} distinct images are too few: at least {least} are '
            'needed'
        )
        return KindCount(None, None, reason, (), len(rows), ())
    measured = _Measured(rows, settings, seed)
    counts = candidate_counts(most, settings.ratio)
    for count in counts:
        measured.add(count)
    for count in _between(counts, measured.best, _REFINED):
        measured.add(count)
    candidates = tuple(
        measured.candidate(count, other) for count in sorted(measured.rows)
    )
    interval = measured.interval()
    best = next(c for c in candidates if c.clusters == measured.best)
    problem = _problem(best, interval, candidates[-1].clusters, settings)
    low, high = interval
    reason = problem or (
        f'at {best.clusters} clusters two halves of the images agree by '
        f'{best.agreement:.2f} ({best.expected_agreement:.2f} in a cloud '
        f'without structure) with a silhouette of {best.silhouette:.2f} '
        f'({best.expected_silhouette:.2f})'
    )
    return KindCount(
        number=None if problem else best.clusters,
        interval=(low, high),
        reason=reason,
        notes=_notes(best, candidates, settings),
        images=len(rows),
        candidates=candidates,
    )


class _Measured:
    """Halves of the images, and of clouds without structure, by K."""

    def __init__(
        self, rows: Tensor, settings: CountSettings, seed: int
    ) -> None:
        self._rows, self._settings, self._seed = rows, settings, seed
        source = torch.Generator().manual_seed(seed_from(seed, 'clouds'))
        self._clouds = [
            structureless_like(rows, source)
            for _ in range(settings.references)
        ]
        # (repeats, 3) and (references, 3), as `Halves` has them.
        self.rows: dict[int, tuple[Tensor, Tensor]] = {}

    def add(self, count: int) -> None:
        """Measure a candidate; its halves are those of all others."""
        own = [
            self._halves(self._rows, count, place)
            for place in range(self._settings.repeats)
        ]
        expected = [
            self._halves(cloud, count, place)
            for place, cloud in enumerate(self._clouds)
        ]
        self.rows[count] = (
            torch.tensor(own, dtype=torch.float64),
            torch.tensor(expected, dtype=torch.float64),
        )

    def _halves(self, rows: Tensor, count: int, place: int) -> Halves:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # few distinct points of a half
            return compare_halves(
                rows,
                count,
                self._settings.kmeans,
                seed=seed_from(self._seed, place),
            )

    def support(self, count: int) -> tuple[Tensor, Tensor]:
        """Return agreement and silhouette, averaged, of both sides."""
        own, expected = self.rows[count]
        return own[:, :2].mean(dim=1), expected[:, :2].mean(dim=1)

    @property
    def best(self) -> int:
        def total(count: int) -> float:
            own, expected = self.support(count)
            return float(own.mean() - expected.mean())

        return max(sorted(self.rows), key=total)

    def interval(self) -> tuple[int, int]:
        """Return the ends of what is not told apart around the best."""
        counts = sorted(self.rows)
        own, expected = self.support(self.best)
        alike = []
        for count in counts:
            other, other_expected = self.support(count)
            lead = (own - other, expected - other_expected)
            difference = float(lead[0].mean() - lead[1].mean())
            alike.append(difference <= _wide(lead))
        low = high = counts.index(self.best)
        while low > 0 and alike[low - 1]:
            low -= 1
        while high < len(counts) - 1 and alike[high + 1]:
            high += 1
        return counts[low], counts[high]

    def candidate(
        self, count: int, views: tuple[Tensor, Tensor] | None
    ) -> Candidate:
        """Return the evidence of a candidate, restarts and views too."""
        own, expected = (part.mean(dim=0) for part in self.rows[count])
        sides = self.support(count)
        return Candidate(
            clusters=count,
            support=float(sides[0].mean() - sides[1].mean()),
            error=_error(sides),
            agreement=float(own[0]),
            expected_agreement=float(expected[0]),
            silhouette=float(own[1]),
            expected_silhouette=float(expected[1]),
            restarts=restart_agreement(
                self._rows,
                count,
                KMeansSettings(n_init=1),
                restarts=_RESTARTS,
                seed=self._seed,
            ),
            tightness=float(own[2]),
            views=None if views is None else self._in_views(count, views),
        )

    def _in_views(self, count: int, views: tuple[Tensor, Tensor]) -> float:
        found = spherical_kmeans(
            self._rows, count, self._settings.kmeans, seed=self._seed
        )
        centroids = found.centroids.t()
        first, second = ((rows @ centroids).argmax(dim=1) for rows in views)
        return adjusted_rand(first, second)


def _error(sides: tuple[Tensor, Tensor]) -> float:
    """Return the standard error of a difference of two means."""
    return math.sqrt(sum(float(s.var()) / len(s) for s in sides))


def _wide(sides: tuple[Tensor, Tensor]) -> float:
    """Return half the width of a difference's 95 % interval (Welch)."""
    from scipy import stats

    parts = [(float(s.var()) / len(s), len(s) - 1) for s in sides]
    total = sum(part for part, _ in parts)
    if total == 0:
        return 0.0
    freedom = total**2 / sum(part**2 / own for part, own in parts)
    return float(stats.t.ppf(0.975, freedom)) * math.sqrt(total)


def _between(counts: Sequence[int], best: int, most: int) -> list[int]:
    """Return numbers between the neighbours of the best candidate."""
    place = counts.index(best)
    low = counts[max(place - 1, 0)]
    high = counts[min(place + 1, len(counts) - 1)]
    inside = [n for n in range(low + 1, high) if n != best]
    if len(inside) <= most:
        return inside
    return [inside[n * len(inside) // most] for n in range(most)]


def _problem(
    best: Candidate,
    interval: tuple[int, int],
    last: int,
    settings: CountSettings,
) -> str | None:
    """Say why the best candidate is not believed; None if it is."""
    low, high = interval
    needed = max(settings.least_support, 2 * best.error)
    if best.support < needed:
        return (
            f'no number of clusters stands out: the best, {best.clusters}, '
            f'is supported by {best.support:.3f}, where {needed:.3f} are '
            'needed; a cloud without structure does as well'
        )
    if best.agreement < settings.least_agreement:
        return (
            f'two halves of the images agree on no number of clusters: at '
            f'the best, {best.clusters}, by {best.agreement:.2f}, where '
            f'{settings.least_agreement:.2f} are needed'
        )
    if best.clusters == last:
        remedy = (
            'raise max_kinds'
            if last == settings.max_kinds
            else 'give more images or lower images_per_kind'
        )
        return (
            f'the largest candidate, {last}, is the best, so that there may '
            f'be more; {remedy} of CountSettings'
        )
    if high > settings.widest * low:
        return (
            f'anything from {low} to {high} is supported about as well as '
            f'{best.clusters}'
        )
    return None


def _notes(
    best: Candidate, candidates: Sequence[Candidate], settings: CountSettings
) -> tuple[str, ...]:
    """Say what else the evidence shows."""
    notes = []
    if best.views is not None and best.views < 0.5 * best.agreement:
        notes.append(
            f'another view of the images changes their clusters (they agree '
            f'by {best.views:.2f}): the kinds may be of what that view lacks, '
            'such as colour'
        )
    peaks = [
        own.clusters
        for before, own, after in zip(
            candidates, candidates[1:], candidates[2:], strict=False
        )
        if own is not best
        and own.support > before.support + 2 * own.error
        and own.support > after.support + 2 * own.error
        and own.support >= settings.least_support
        and own.agreement >= settings.least_agreement
    ]
    if peaks:
        notes.append(
            'there may be kinds within kinds: support is high again at '
            + ', '.join(map(str, peaks))
        )
    return tuple(notes)


def _unit_rows(features: Tensor) -> Tensor:
    """Return features as unit rows, float32 on the CPU."""
    return F.normalize(check_features(features.detach().cpu()), dim=1)


def _unit_views(
    views: tuple[Tensor, Tensor], width: int
) -> tuple[Tensor, Tensor]:
    first, second = map(_unit_rows, views)
    if first.shape != second.shape or first.shape[1] != width:
        raise ValueError(
            f'expected two views of the same images, (M, {width}) each, got '
            f'{tuple(first.shape)} and {tuple(second.shape)}'
        )
    return first, second
