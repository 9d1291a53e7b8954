"""Ladders, policies and smoothing from a config; their math is in core."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmengine.registry import TASK_UTILS

from ahpcl.core import (
    ClusterLadder,
    FixedPolicy,
    PlateauPolicy,
    SlidingWindowPolicy,
    StabilityPolicy,
    smoothing_factor,
)

for _policy in (
    FixedPolicy,
    PlateauPolicy,
    SlidingWindowPolicy,
    StabilityPolicy,
):
    TASK_UTILS.register_module(module=_policy)


def build_ladder(config: dict, num_images: int) -> ClusterLadder:
    """Build a ladder and check that the data set can fill it.

    Args:
        config: ``type`` and arguments of one of the ladders below.
        num_images: N.

    Raises:
        ValueError: if a rung has more clusters than N images can fill.
    """
    config = {'type': 'ListedLadder', **config}
    return TASK_UTILS.build(config, default_args=dict(num_images=num_images))


@TASK_UTILS.register_module(name=['ListedLadder', 'ClusterLadder'])
def listed_ladder(
    rungs: Sequence[int],
    num_images: int,
    window: int = 3,
    min_images_per_cluster: float = 2,
) -> ClusterLadder:
    """A ladder of the given counts, ascending or descending."""
    ladder = ClusterLadder(rungs, window=window)
    ladder.check_fits(num_images, min_images_per_cluster)
    return ladder


@TASK_UTILS.register_module(name='GeometricLadder')
def geometric_ladder(
    start: int,
    ratio: float,
    stop: int,
    num_images: int,
    window: int = 3,
    min_images_per_cluster: float = 2,
) -> ClusterLadder:
    """A ladder from ``start`` to ``stop`` by a constant ratio."""
    ladder = ClusterLadder.geometric(start, ratio, stop, window=window)
    ladder.check_fits(num_images, min_images_per_cluster)
    return ladder


@TASK_UTILS.register_module(name='AutoLadder')
def auto_ladder(
    num_images: int, direction: str = 'descending', window: int = 3
) -> ClusterLadder:
    """A ladder derived from the number of images."""
    return ClusterLadder.auto(num_images, direction=direction, window=window)


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
