"""How kinds are counted, and what a count says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ahpcl.core.clustering.settings import KMeansSettings
from ahpcl.core.validation import finite_number, whole_number

__all__ = ['Candidate', 'CountSettings', 'KindCount']


@dataclass(frozen=True)
class CountSettings:
    """How kinds are counted, and when a count is believed.

    Attributes:
        max_kinds: Largest candidate.
        images_per_kind: No candidate has fewer images per cluster than this,
            on average, at least 4.
        ratio: Factor from candidate to candidate, above 1.
        repeats: Pairs of halves for every candidate, at least 2.
        references: Clouds without structure that are measured beside the
            images, at least 2.
        max_images: Number of images that are drawn where there are more.
        kmeans: How to cluster; always from cold starts.
        least_agreement: Halves must agree by so much (adjusted Rand index)
            that a count is believed. Hennig (Computational Statistics and
            Data Analysis 2007) trusts no cluster whose images stay together
            by less than 0.6.
        least_support: The support that a count needs.
        widest: Largest ratio of the two ends of an interval.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> CountSettings(max_kinds=30).max_kinds
        30
    """

    max_kinds: int = 100
    images_per_kind: int = 20
    ratio: float = 1.3
    repeats: int = 5
    references: int = 5
    max_images: int = 2500
    kmeans: KMeansSettings = KMeansSettings(n_init=2, tolerance=0.001)
    least_agreement: float = 0.6
    least_support: float = 0.1
    widest: float = 2.0

    def __post_init__(self) -> None:
        for name, least in (
            ('max_kinds', 2),
            ('images_per_kind', 4),
            ('repeats', 2),
            ('references', 2),
            ('max_images', 2),
        ):
            whole_number(getattr(self, name), name, least=least)
        finite_number(self.ratio, 'ratio', least=1.01)
        finite_number(self.widest, 'widest', least=1)
        for name in ('least_agreement', 'least_support'):
            finite_number(getattr(self, name), name, least=0, most=1)


@dataclass(frozen=True)
class Candidate:
    """What a number of clusters has for it.

    Attributes:
        clusters: K.
        support: Mean of two excesses over clouds without structure, that of
            the agreement of halves and that of the silhouette; at most 1.
        error: Standard error of the support.
        agreement: Adjusted Rand index of clusterings of two halves.
        expected_agreement: The same in clouds without structure.
        silhouette: Mean silhouette of images that were held out.
        expected_silhouette: The same in clouds without structure.
        restarts: Adjusted Rand index of cold starts on all images.
        tightness: Mean cosine of held-out images with their centroid.
        views: Adjusted Rand index of the clusters of the images and of
            another view of them; None without such views.
    """

    clusters: int
    support: float
    error: float
    agreement: float
    expected_agreement: float
    silhouette: float
    expected_silhouette: float
    restarts: float
    tightness: float
    views: float | None


@dataclass(frozen=True)
class KindCount:
    """The answer of `count_kinds`.

    Attributes:
        number: How many kinds there are; None where the features do not say.
        interval: Smallest and largest of the candidates around the best one
            that are not told apart from it; None where none could be
            measured.
        reason: Why that number, or why none: a sentence.
        notes: What else to know of it, a sentence each.
        images: Number of images that were looked at.
        candidates: Evidence, by rising number of clusters.
    """

    number: int | None
    interval: tuple[int, int] | None
    reason: str
    notes: tuple[str, ...]
    images: int
    candidates: tuple[Candidate, ...]

    @property
    def best(self) -> Candidate | None:
        """The candidate of the highest support, believed or not."""
        return max(self.candidates, key=lambda own: own.support, default=None)

    def describe(self) -> str:
        """Return number and interval, or that there is none, with the reason.

        Examples:
            >>> KindCount(4, (3, 5), 'halves agree', (), 9, ()).describe()
            '4 kinds (3 to 5): halves agree'
        """
        if self.number is None or self.interval is None:
            return f'not determined: {self.reason}'
        low, high = self.interval
        return f'{self.number} kinds ({low} to {high}): {self.reason}'

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and text, for JSON."""
        return asdict(self)
