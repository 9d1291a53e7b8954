"""Keeps with a run how its images became 8-bit pixels."""

from __future__ import annotations

from typing import Any

from mmengine.runner import Runner

from ahpcl.datasets.fit_config import PIXELS
from ahpcl.datasets.pixel_format import USUAL
from ahpcl.runtime.train_state import TrainState
from ahpcl.utils.ranks import unwrap


def keep_pixels(runner: Runner, state: TrainState) -> None:
    """Put channels, range and statistics of unusual images into checkpoints.

    Args:
        runner: The runner, before it trains.
        state: Its state.

    Raises:
        ValueError: if the run was trained on images that became other pixels
            before it was resumed.
    """
    dataset = runner.train_dataloader.dataset
    while not hasattr(dataset, 'pixels'):
        parts = getattr(dataset, 'datasets', None)
        dataset = parts[0] if parts else getattr(dataset, 'dataset', None)
        if dataset is None:
            return
    if dataset.pixels == USUAL:
        return
    numbers = dataset.pixels.as_dict()
    preprocessor = unwrap(runner.model).data_preprocessor
    if dataset.pixels.channels != 3 and hasattr(preprocessor, 'mean'):
        for name in ('mean', 'std'):
            numbers[name] = getattr(preprocessor, name).flatten().tolist()

    def compare(kept: dict[str, Any]) -> None:
        for name in ('channels', 'range', 'pages'):
            if kept[name] != numbers[name]:
                raise ValueError(
                    f'expected {name}={kept[name]} of the images, as the run '
                    f'was trained with, got {numbers[name]}; leave {name} out '
                    'of the config, or set it to that on every dataset'
                )

    state.keep(PIXELS, lambda: numbers, compare)
