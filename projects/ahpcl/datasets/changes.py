"""What has become of the images of an earlier list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Names, sizes and marks of images, see `Manifest`.
Images = tuple[Sequence[str], np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Changes:
    """Images at hand, told by those of an earlier list.

    Attributes:
        places: Where every image at hand was in the earlier list, (N,)
            int64; -1 for what is new or has changed, so that nothing that
            was found before is about it.
        new: Names that were not there.
        changed: Names that were there, with another content.
        gone: Names that are there no more.
        renamed: Earlier name and name of the same content.
        reordered: Whether images that are in both stand in another order.
        earlier: Number of images of the earlier list.

    Example:
        Values by image, (N_earlier,), become values of the images at hand::

            kept = changes.places >= 0
            now = np.full(len(changes.places), -1)
            now[kept] = values[changes.places[kept]]
    """

    places: np.ndarray
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    reordered: bool
    earlier: int

    @property
    def same_images(self) -> bool:
        """Whether it is the same images, under whatever names and order."""
        return not (self.new or self.changed or self.gone)

    @property
    def same_places(self) -> bool:
        """Whether it is the same images at the same places."""
        return len(self.places) == self.earlier and np.array_equal(
            self.places, np.arange(self.earlier)
        )

    @property
    def none(self) -> bool:
        """Whether nothing differs, not even a name."""
        return self.same_places and not self.renamed

    def describe(self) -> str:
        """Say it in words: '38 as before, 1 new (x.png), 1 gone (y.png)'."""
        same = int((self.places >= 0).sum())
        words = [f'{same} as before' + ', in another order' * self.reordered]
        if self.renamed:
            first = ' -> '.join(self.renamed[0])
            words.append(f'{len(self.renamed)} of them renamed ({first})')
        for word, names in (
            ('new', self.new),
            ('changed', self.changed),
            ('gone', self.gone),
        ):
            if names:
                more = ', ...' * (len(names) > 2)
                shown = ', '.join(names[:2])
                words.append(f'{len(names)} {word} ({shown}{more})')
        return ', '.join(words)


def compare(before: Images, now: Images) -> Changes:
    """Find the images of a list in an earlier one.

    Args:
        before: The earlier images.
        now: The images at hand.

    Returns:
        See :meth:`ahpcl.datasets.manifest.Manifest.compare`.
    """
    places = np.full(len(now[0]), -1, dtype=np.int64)
    if tuple(before[0]) == tuple(now[0]):
        candidates = np.arange(len(places))
    else:
        known = {name: i for i, name in enumerate(_distinct(before[0]))}
        candidates = np.array(
            [known.get(name, -1) for name in _distinct(now[0])],
            dtype=np.int64,
        )
    named = np.flatnonzero(candidates >= 0)
    alike = _alike(before, now, candidates[named], named)
    places[named[alike]] = candidates[named[alike]]
    rest = np.ones(len(before[0]), dtype=bool)
    rest[places[places >= 0]] = False
    renamed = _renamed(before, now, np.flatnonzero(rest), places)
    for earlier, place in renamed:
        places[place] = earlier
        rest[earlier] = False
    # A name whose content went on under another one has another now.
    changed = np.flatnonzero((places < 0) & (candidates >= 0))
    rest[candidates[changed]] = False
    kept = places[places >= 0]
    return Changes(
        places=places,
        new=_chosen(now[0], (places < 0) & (candidates < 0)),
        changed=tuple(now[0][i] for i in changed),
        gone=_chosen(before[0], rest),
        renamed=tuple((before[0][i], now[0][j]) for i, j in renamed),
        reordered=bool((np.diff(kept) < 0).any()),
        earlier=len(before[0]),
    )


def _alike(
    before: Images, now: Images, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Tell which images do not differ, as far as it is known, (n,) bool."""
    found = np.ones(len(left), dtype=bool)
    for number, unknown in ((1, -1), (2, 0)):
        one, other = before[number][left], now[number][right]
        found &= (one == other) | (one == unknown) | (other == unknown)
    return found


def _renamed(
    before: Images, now: Images, left: np.ndarray, places: np.ndarray
) -> list[tuple[int, int]]:
    """Return pairs of places with a content that both lists have once."""
    right = np.flatnonzero(places < 0)
    if not len(left) or not len(right):
        return []
    one, other = _by_content(before, left), _by_content(now, right)
    return sorted(
        (place, other[content])
        for content, place in one.items()
        if content in other
    )


def _by_content(
    images: Images, chosen: np.ndarray
) -> dict[tuple[int, int], int]:
    """Return the places of contents that only one image of the list has."""
    _, sizes, marks = images
    marked = np.flatnonzero(marks)
    times = Counter(
        zip(sizes[marked].tolist(), marks[marked].tolist(), strict=True)
    )
    found = {}
    for place in chosen.tolist():
        content = int(sizes[place]), int(marks[place])
        if times.get(content) == 1:
            found[content] = place
    return found


def _distinct(names: Sequence[str]) -> Sequence[object]:
    """Number the names of images that a list has several times."""
    if len(set(names)) == len(names):
        return names
    seen: Counter[str] = Counter()
    distinct: list[object] = []
    for name in names:
        distinct.append((name, seen[name]) if seen[name] else name)
        seen[name] += 1
    return distinct


def _chosen(names: Sequence[str], mask: np.ndarray) -> tuple[str, ...]:
    return tuple(names[place] for place in np.flatnonzero(mask))
