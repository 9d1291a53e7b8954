"""Ladders, policies and smoothing from a config; their math is in core."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
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
from ahpcl.utils.setting_error import SettingError

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
        SettingError: if a rung has more clusters than N images can fill, or
            so few images leave too few rungs; with the options of a ladder
            that fits, keys below that of the ladder.
    """
    config = {'type': 'ListedLadder', **config}
    filled = dict(num_images=num_images)
    try:
        return TASK_UTILS.build(config, default_args=filled)
    except ValueError as error:
        for options in _fitting_options(config, num_images):
            try:
                TASK_UTILS.build({**config, **options}, default_args=filled)
            except ValueError:
                continue
            raise SettingError(str(error), options) from error
        raise


def _fitting_options(config: dict, num_images: int) -> Iterator[dict]:
    """Options that may make a ladder fit, those that change least first."""
    window = config.get('window', 3)
    share = config.get('min_images_per_cluster', 2)
    if str(config['type']).rpartition('.')[2] == 'AutoLadder':
        for images in range(11, 1, -1):
            yield dict(min_images_per_cluster=images)
        for smaller in range(window - 1, 0, -1):
            yield dict(min_images_per_cluster=2, window=smaller)
    elif 'rungs' in config:
        rungs = [k for k in config['rungs'] if k * share <= num_images]
        yield dict(rungs=rungs)
        ascends = config['rungs'][0] < config['rungs'][-1]
        direction = 'ascending' if ascends else 'descending'
        for images in range(12, 1, -1):
            for smaller in range(window, 0, -1) if images == 2 else [window]:
                with suppress(ValueError):
                    found = ClusterLadder.auto(
                        num_images,
                        direction=direction,
                        window=smaller,
                        min_images_per_cluster=images,
                    )
                    options = dict(rungs=list(found.rungs))
                    if smaller != window:
                        options['window'] = smaller
                    yield options
    elif 'start' in config:
        most = int(num_images // share)
        ends = {k: min(config[k], most) for k in ('start', 'stop')}
        yield {k: v for k, v in ends.items() if v != config[k]}


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
    num_images: int,
    direction: str = 'descending',
    window: int = 3,
    min_images_per_cluster: int = 12,
    coarsest: int = 2,
    finest: int | None = None,
    ratio: float = 2.0,
) -> ClusterLadder:
    """A ladder derived from the number of images, `ClusterLadder.auto`."""
    return ClusterLadder.auto(
        num_images,
        direction=direction,
        window=window,
        min_images_per_cluster=min_images_per_cluster,
        coarsest=coarsest,
        finest=finest,
        ratio=ratio,
    )


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


def falls_due(epoch: int, every: int, interval: int) -> bool:
    """Whether what comes every so many epochs is due in an E-step.

    E-steps that come every few epochs need not meet a multiple: the first
    from there on counts.

    Args:
        epoch: Of the E-step, counted from 0.
        every: Epochs between two times.
        interval: Epochs between two E-steps.

    Example:
        >>> [epoch for epoch in (1, 3, 5, 7, 9) if falls_due(epoch, 4, 2)]
        [1, 5, 9]
    """
    return epoch // every != (epoch - interval) // every
