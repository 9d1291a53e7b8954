"""Ladders built from a config; the ladder itself is in core."""

from collections.abc import Sequence

from mmengine.registry import TASK_UTILS

from ahpcl.core import ClusterLadder


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
