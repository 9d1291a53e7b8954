"""How much the prototype labels are smoothed at every level."""

from dataclasses import dataclass

from mmengine.registry import TASK_UTILS

from ahpcl.core import ClusterLadder, smoothing_factor


@TASK_UTILS.register_module()
@dataclass(frozen=True)
class LadderSmoothing:
    """Smoothing that grows as the clusters get fewer.

    eps(K) = min(ceiling, ceiling * sqrt((K_max - K) / K_max)), K_max the
    largest rung of the ladder.

    Attributes:
        ceiling: The most that is smoothed; 0 for none.
        reference: ``'newest'`` takes K of the newest rung for all levels,
            ``'level'`` every level's own.

    Raises:
        ValueError: for another reference or a ceiling outside [0, 1).
    """

    ceiling: float = 0.2
    reference: str = 'newest'

    def __post_init__(self) -> None:
        if self.reference not in ('newest', 'level'):
            raise ValueError(
                "expected reference 'newest' or 'level', got "
                f'{self.reference!r}'
            )
        if not 0 <= self.ceiling < 1:
            raise ValueError(
                f'expected a ceiling in [0, 1), got {self.ceiling}'
            )

    def at(self, ladder: ClusterLadder) -> dict[int, float]:
        """Number of clusters -> smoothing, for the rungs in use."""
        newest = ladder.current[-1]
        return {
            rung: smoothing_factor(
                newest if self.reference == 'newest' else rung,
                max(ladder.rungs),
                ceiling=self.ceiling,
            )
            for rung in ladder.current
        }
