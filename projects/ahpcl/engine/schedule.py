"""Ladders, policies and smoothing from a config; their math is in core."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log
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


def resumed_ladder(
    config: dict, num_images: int, kept: Mapping[str, Any] | None
) -> ClusterLadder:
    """Build the ladder of a run that may go on from a checkpoint.

    An ``AutoLadder`` is derived from the number of images, which may be
    another when the run goes on: it then stays as it was.

    Args:
        config: As in :func:`build_ladder`.
        num_images: N.
        kept: State of the ladder in the checkpoint, if there is one.

    Raises:
        ValueError: as in :func:`build_ladder`.
    """
    if kept is None or config.get('type') != 'AutoLadder':
        return build_ladder(config, num_images)
    ladder = ClusterLadder(kept['rungs'], window=kept['window'])
    own = build_ladder(config, num_images)
    if (own.rungs, own.window) != (ladder.rungs, ladder.window):
        print_log(
            f'the ladder stays that of the checkpoint, {ladder.rungs}: '
            f'{config} would now be {own.rungs}, window {own.window}',
            logger='current',
            level=logging.WARNING,
        )
    return ladder


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
