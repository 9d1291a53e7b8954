"""The ladder of cluster counts and the window that climbs it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ahpcl.core.validation import checked_rungs, whole_number

__all__ = ['ClusterLadder']


class ClusterLadder:
    """Cluster counts in order, `window` consecutive ones of them in use.

    A ladder ascends (coarse to fine) or descends. Advancing drops the oldest
    rung of the window and takes the next of the ladder; at the end it stays.

    Args:
        rungs: Cluster counts, strictly ascending or strictly descending.
        window: How many consecutive rungs are in use, from 1 to the number
            of rungs.

    Raises:
        ValueError: If the rungs are empty, unsorted, repeated, not positive
            or not whole, or the window does not fit.

    Examples:
        >>> ladder = ClusterLadder([40, 20, 10, 5], window=2)
        >>> ladder.current, ladder.newest, ladder.advance(), ladder.current
        ((40, 20), 20, True, (20, 10))
    """

    def __init__(self, rungs: Sequence[int], window: int = 3) -> None:
        self._rungs = checked_rungs(rungs)
        self._window = whole_number(window, 'the window')
        if not 1 <= self._window <= len(self._rungs):
            raise ValueError(
                f'expected a window from 1 to {len(self._rungs)}, the number '
                f'of rungs, got {window} for the rungs {self._rungs}; set '
                f'window= or add rungs'
            )
        self._position = 0

    @classmethod
    def geometric(
        cls, start: int, ratio: float, stop: int, window: int = 3
    ) -> ClusterLadder:
        """Make a ladder whose neighbours differ by about one factor.

        `start`, `start * ratio`, ... up (or down) to `stop`, rounded, equal
        neighbours dropped. `start` and `stop` are always rungs: the last
        regular rung gives way to `stop` if it lies nearer to it than
        `sqrt(ratio)`. So, rounding apart, the neighbours of a longer ladder
        differ by `sqrt(ratio)` at least: nested linkages, which need 1.25,
        want a ratio of 1.6.

        Args:
            start: The first rung.
            ratio: The factor, above 1; the direction follows from `start`
                and `stop`. A descending ladder may also name it below 1
                (0.5 is 2).
            stop: The last rung.
            window: As for the class.

        Raises:
            ValueError: If the numbers make no ladder.

        Examples:
            >>> ClusterLadder.geometric(100, ratio=0.5, stop=10).rungs
            (100, 50, 25, 10)
        """
        first = whole_number(start, 'start', least=1)
        last = whole_number(stop, 'stop', least=1)
        factor = float(ratio)
        if 0 < factor < 1 and last < first:
            factor = 1 / factor
        if not (factor > 1 and math.isfinite(factor)):
            raise ValueError(
                f'expected a ratio above 1 (or below 1 to descend), got '
                f'{ratio} from {first} to {last}; try 2'
            )
        span = math.log(max(first, last) / min(first, last))
        steps = round(span / math.log(factor))
        sign = 1 if last >= first else -1
        rungs = [round(first * factor ** (sign * i)) for i in range(steps)]
        inside = [r for r in rungs[1:] if sign * r < sign * last]
        return cls(list(dict.fromkeys([first, *inside, last])), window)

    @classmethod
    def auto(
        cls,
        num_images: int,
        *,
        direction: str = 'descending',
        window: int = 3,
        min_images_per_cluster: int = 12,
        coarsest: int = 2,
        finest: int | None = None,
        ratio: float = 2.0,
    ) -> ClusterLadder:
        """Make a ladder for an unknown number of clusters.

        The rule: the finest rung is `num_images / min_images_per_cluster`
        (12 images per cluster is what 3200 clusters have on mini-ImageNet's
        38,400 training images), the coarsest is 2, and every rung between
        has half the clusters of the finer one. The scales that the data do
        not have cost some epochs; none that it has is missed by more than
        a factor of sqrt(2).

        Args:
            num_images: N, the images that are clustered.
            direction: `'descending'` (fine to coarse) or `'ascending'`.
            window: As for the class.
            min_images_per_cluster: Mean images per cluster of the finest
                rung, at least 1.
            coarsest: The smallest rung.
            finest: The largest rung that may be, however many images there
                are; None for no bound.
            ratio: The factor between neighbours, above 1.

        Raises:
            ValueError: If the direction is unknown or so few images leave
                fewer rungs than the window takes.

        Examples:
            >>> ClusterLadder.auto(1442).rungs
            (120, 60, 30, 15, 8, 4, 2)
            >>> ClusterLadder.auto(1442, finest=40).rungs
            (40, 20, 10, 5, 2)
        """
        total = whole_number(num_images, 'num_images', least=1)
        share = whole_number(
            min_images_per_cluster, 'min_images_per_cluster', least=1
        )
        low = whole_number(coarsest, 'coarsest', least=1)
        if direction not in ('ascending', 'descending'):
            raise ValueError(
                f"expected direction 'ascending' or 'descending', "
                f'got {direction!r}'
            )
        high = total // share
        remedy = (
            f'{total} images at {share} per cluster leave {high} clusters at '
            f'most; lower min_images_per_cluster or window, or list the rungs'
        )
        if finest is not None:
            bound = whole_number(finest, 'finest', least=1)
            if bound < high:
                high = bound
                remedy = (
                    f'finest={bound} bounds the ladder; raise it or lower '
                    f'window, or list the rungs'
                )
        if high < low:
            raise ValueError(
                f'expected room for {low} clusters, got none: {remedy}'
            )
        start, stop = (low, high) if direction == 'ascending' else (high, low)
        ladder = cls.geometric(start, ratio, stop, window=1)
        if len(ladder.rungs) < whole_number(window, 'the window'):
            raise ValueError(
                f'expected at least {window} rungs for the window, got '
                f'{ladder.rungs}: {remedy}'
            )
        return cls(ladder.rungs, window)

    @property
    def rungs(self) -> tuple[int, ...]:
        """All cluster counts, in ladder order."""
        return self._rungs

    @property
    def window(self) -> int:
        """How many rungs are in use at once."""
        return self._window

    @property
    def position(self) -> int:
        """Index of the oldest rung in use, which is the advances made."""
        return self._position

    @property
    def current(self) -> tuple[int, ...]:
        """The rungs in use, in ladder order, newest last."""
        return self._rungs[self._position : self._position + self._window]

    @property
    def newest(self) -> int:
        """The rung that came into use last."""
        return self.current[-1]

    @property
    def max_clusters(self) -> int:
        """The largest rung of the whole ladder."""
        return max(self._rungs)

    @property
    def num_advances(self) -> int:
        """Advances from the first window to the last."""
        return len(self._rungs) - self._window

    @property
    def remaining(self) -> int:
        """Advances that are left."""
        return self.num_advances - self._position

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left to advance to."""
        return self.remaining == 0

    def advance(self) -> bool:
        """Move the window by one rung; False, and no move, at the end."""
        if self.exhausted:
            return False
        self._position += 1
        return True

    def check_fits(
        self, num_images: int, min_images_per_cluster: int = 2
    ) -> None:
        """Refuse a ladder with a rung that the images can not fill.

        Args:
            num_images: N, the images that are clustered.
            min_images_per_cluster: Mean images per cluster asked for.

        Raises:
            ValueError: If K > N / `min_images_per_cluster` for a rung K.

        Examples:
            >>> ladder = ClusterLadder([50, 20, 10])
            >>> ladder.check_fits(num_images=100)  # all is well
        """
        too_large = [
            k for k in self._rungs if k * min_images_per_cluster > num_images
        ]
        if too_large:
            limit = int(num_images // min_images_per_cluster)
            raise ValueError(
                f'expected rungs of at most {limit} clusters for '
                f'{num_images} images at {min_images_per_cluster} per '
                f'cluster, got {", ".join(map(str, too_large))}; drop what '
                f'is larger, add images, or use ClusterLadder.auto'
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers: rungs, window, position."""
        return {
            'rungs': list(self._rungs),
            'window': self._window,
            'position': self._position,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the window where `state` has it.

        A ladder that differs elsewhere (rungs added or taken away at its
        ends) is accepted if the saved window stands in it as it is.

        Args:
            state: What `state_dict` returned.

        Raises:
            ValueError: If keys are missing, or the saved window is not one
                of this ladder's.
        """
        missing = {'rungs', 'window', 'position'} - set(state)
        if missing:
            raise ValueError(
                f'expected the state of a ClusterLadder, got one without '
                f'{sorted(missing)}'
            )
        position = whole_number(state['position'], 'the position', least=0)
        saved = tuple(state['rungs'])[position:][: int(state['window'])]
        for start in range(self.num_advances + 1):
            if self._rungs[start : start + self._window] == saved:
                self._position = start
                return
        raise ValueError(
            f'expected a state of the ladder {self._rungs} with window '
            f'{self._window}, got one that has {saved} in use on '
            f'{tuple(state["rungs"])}; resume with the ladder of that run, '
            f'or start again from its weights (load_from)'
        )

    def __repr__(self) -> str:
        return (
            f'ClusterLadder({list(self._rungs)}, window={self._window}) '
            f'at {self.current}'
        )
