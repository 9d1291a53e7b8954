"""Colours that can be told apart: for classes, clusters and their children.

Conversions between sRGB and OKLab, in which distance is close to seen
difference, are after Ottosson, "A perceptual color space for image
processing", 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ahpcl.core.clustering.lineage import Lineage

# Okabe and Ito's colours, which the colour-blind tell apart; their yellow
# is darkened and black left out, as points lie on white and are labelled.
FEW = (
    '#0072b2',
    '#e69f00',
    '#009e73',
    '#cc79a7',
    '#d55e00',
    '#56b4e9',
    '#b8a800',
    '#5b4a8a',
)
_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def distinct_colours(number: int) -> np.ndarray:
    """Return colours as different as can be, (number, 3) sRGB from 0 to 1.

    Up to eight are safe for the colour-blind. More are chosen one by one,
    each the farthest in OKLab from those before; neither near white nor near
    black. The first n are the same whatever the number.
    """
    found = _farthest(max(number, len(FEW)))
    return found[:number].copy()


def child_colours(parents: np.ndarray, lineage: Lineage) -> np.ndarray:
    """Return colours of the clusters of a level from those of the coarser one.

    Children have the hue of their parent; their lightness spreads around
    it, so that siblings differ. An only child has its parent's colour.

    Args:
        parents: (P, 3) sRGB of the coarser level.
        lineage: Lineage of the finer level, K clusters.

    Returns:
        (K, 3) sRGB.
    """
    lab = to_oklab(parents)
    index = lineage.parents.cpu().numpy()
    found = lab[index]
    for parent in np.unique(index):
        places = np.flatnonzero(index == parent)
        light = lab[parent, 0]
        spread = min(0.2, 0.06 * (len(places) - 1))
        low = np.clip(light - spread, 0.38, 0.88 - 2 * spread)
        found[places, 0] = (
            np.linspace(low, low + 2 * spread, len(places))
            if len(places) > 1
            else light
        )
    return to_srgb(found)


def hierarchy_colours(
    counts: Sequence[int], lineages: Sequence[Lineage | None]
) -> list[np.ndarray]:
    """Return colours of every level, finest first.

    Args:
        counts: Clusters of every level, finest first.
        lineages: Lineage of every level; that of the coarsest is not read.
    """
    found = [distinct_colours(counts[-1])]
    for lineage in reversed(lineages[: len(counts) - 1]):
        assert lineage is not None
        found.insert(0, child_colours(found[0], lineage))
    return found


def to_oklab(srgb: np.ndarray) -> np.ndarray:
    """Convert (..., 3) sRGB from 0 to 1 to OKLab."""
    srgb = np.asarray(srgb, dtype=float)
    linear = np.where(
        srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4
    )
    return np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T


def to_srgb(lab: np.ndarray) -> np.ndarray:
    """Convert (..., 3) OKLab to sRGB from 0 to 1, clipped to the screen."""
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T
    linear = np.clip(linear, 0, 1)
    return np.where(
        linear <= 0.0031308,
        12.92 * linear,
        1.055 * linear ** (1 / 2.4) - 0.055,
    )


@lru_cache(maxsize=8)
def _farthest(number: int) -> np.ndarray:
    first = np.array(
        [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in FEW]
    )
    steps = np.linspace(0, 1, 21)
    grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    lab = to_oklab(grid)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    kept = (lab[:, 0] > 0.35) & (lab[:, 0] < 0.86) & (chroma > 0.05)
    grid, lab = grid[kept], lab[kept]
    found = list(first)
    near = np.full(len(grid), np.inf)
    for colour in to_oklab(first):
        near = np.minimum(near, np.linalg.norm(lab - colour, axis=1))
    while len(found) < number:
        best = int(near.argmax())
        if near[best] == 0:  # every colour of the grid is in use
            return np.resize(np.array(found), (number, 3))
        found.append(grid[best])
        near = np.minimum(near, np.linalg.norm(lab - lab[best], axis=1))
    return np.array(found)
