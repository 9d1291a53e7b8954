"""The algorithm of a config with the weights of a checkpoint."""

from __future__ import annotations

import copy
import os

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from ahpcl.datasets.fit_config import (
    fit_to_images,
    fit_to_pixels,
    pixels_of,
)
from ahpcl.runtime.checkpoint_files import read_checkpoint
from ahpcl.runtime.start_checkpoint_hook import fit_checkpoint
from ahpcl.utils.quiet import quiet_log
from ahpcl.utils.random_state import random_state_kept


def load_model(
    config: Config, checkpoint: str | os.PathLike | None
) -> tuple[nn.Module, dict]:
    """Build the algorithm of a config with the weights of a checkpoint.

    Without one its weights are those that training starts from.

    Args:
        config: A config with ``model`` and ``randomness``.
        checkpoint: File, or address that mmengine reads, or None.

    Returns:
        The model on the CPU and what the checkpoint holds.

    Raises:
        ValueError: If the checkpoint does not exist, cannot be read or is of
            another model.
    """
    config = fitted_config(config, checkpoint)
    seed = (config.get('randomness') or {}).get('seed') or 0
    with random_state_kept(seed):
        model = MODELS.build(copy.deepcopy(config.model))
        if checkpoint is None:
            with quiet_log():
                model.init_weights()
            return model, {}
    return model, load_weights(model, checkpoint)


def fitted_config(
    config: Config, checkpoint: str | os.PathLike | None
) -> Config:
    """Return a copy of a config that fits the images of its run.

    Args:
        config: The config.
        checkpoint: What the run wrote, which knows its images; None looks at
            the training images.

    Raises:
        ValueError: If there is no checkpoint and the images cannot be used.
    """
    config = copy.deepcopy(config)
    if checkpoint is None:
        fit_to_images(config)
    else:
        numbers = pixels_of(checkpoint)
        if numbers is not None:
            fit_to_pixels(config, numbers)
    return config


def load_weights(model: nn.Module, checkpoint: str | os.PathLike) -> dict:
    """Give a model the weights of a checkpoint.

    Args:
        model: The model, on the CPU.
        checkpoint: File, or address that mmengine reads.

    Returns:
        What the checkpoint holds.

    Raises:
        ValueError: As :func:`load_model`.
    """
    path = str(checkpoint)
    content = read_checkpoint(path)
    fit_checkpoint(model, content, path)
    state = content.get('state_dict', content)
    model.load_state_dict(
        {key.removeprefix('module.'): value for key, value in state.items()},
        strict=False,
    )
    return content


def usable_device(
    device: str | torch.device | None = None,
) -> torch.device:
    """Return the device to run on: a GPU where there is one, if none is named.

    Raises:
        ValueError: If it cannot be used here.
    """
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(
            f'expected a --device that works here, such as cpu, got {device}: '
            f'{reason}'
        ) from error
