"""All that can be refused before the first step, in one error."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ahpcl.compat.frameworks import both_frameworks
from ahpcl.models.protocols import ChecksTraining
from ahpcl.runtime.config_difference import config_difference
from ahpcl.utils.ranks import unwrap
from ahpcl.utils.setting_error import Problems, SettingError


@runtime_checkable
class ChecksImages(Protocol):
    """A hook whose settings must fit the number of training images."""

    def check_images(self, num_images: int, device: torch.device) -> None:
        """Raise a ValueError, or a SettingError with keys of the hook."""


def check_start(runner: Runner, dataloader: DataLoader) -> None:
    """Check the settings against the images: batch, model and hooks.

    Args:
        runner: The runner, whose model is built.
        dataloader: Loader of the training images.

    Raises:
        SettingError: If anything does not fit: names all of it, and settings
            that do fit.
    """
    images = len(dataloader.dataset)
    problems = Problems()
    batch_size = dataloader.batch_size
    with problems.checking():
        if len(dataloader) == 0:
            batch_size = fitting_batch(images, runner.world_size)
            raise _too_few(dataloader, runner.world_size, batch_size)
    model = unwrap(runner.model)
    if isinstance(model, ChecksTraining) and images:
        first = dataloader.collate_fn([dataloader.dataset[0]])
        made = model.data_preprocessor(first, True)
        views = made['inputs'] if isinstance(made, dict) else made[0]
        with problems.checking():
            model.check_training(
                num_images=images,
                batch_size=batch_size * runner.world_size,
                view_shapes=[tuple(view.shape[1:]) for view in views],
            )
    device = next(model.parameters()).device
    for hook in runner.hooks:
        if isinstance(hook, ChecksImages):
            with problems.checking(_place_of(hook, runner)):
                hook.check_images(images, device)
    problems.report(f'{images} images')
    _say_other_extraction(runner.cfg)
    said = both_frameworks()
    if said:
        runner.logger.warning(said)


def fitting_batch(num_images: int, num_ranks: int = 1) -> int:
    """The largest power of two that gives every rank two batches, from 1.

    Examples:
        >>> fitting_batch(40), fitting_batch(40, num_ranks=4)
        (16, 4)
    """
    most = max(num_images // (2 * num_ranks), 1)
    return 1 << (most.bit_length() - 1)


def _too_few(loader: DataLoader, ranks: int, fitting: int) -> SettingError:
    images = len(loader.dataset)
    options = {'train_dataloader.batch_size': fitting} if images > 1 else {}
    return SettingError(
        f'expected at least one batch of training images, got {images} images '
        f'for batches of {loader.batch_size} on {ranks} process(es); lower '
        'train_dataloader.batch_size or add images',
        options,
    )


def _say_other_extraction(config: Config) -> None:
    """Warn of an extract loader that was changed where no hook reads it."""
    own = config.get('extract_dataloader')
    for number, hook in enumerate(config.get('custom_hooks') or []):
        is_config = isinstance(hook, Mapping)
        other = hook.get('extract_dataloader') if is_config else None
        if not isinstance(own, Mapping) or not isinstance(other, Mapping):
            continue
        changed = config_difference(own, other)
        if changed:
            found = ', '.join(
                f'{key}={values[0]}' for key, values in changed.items()
            )
            print_log(
                f'extract_dataloader says {found}, but the E-step reads '
                f'custom_hooks.{number}.extract_dataloader, which differs: '
                'change it there as well',
                logger='current',
                level=logging.WARNING,
            )


def _place_of(hook: Any, runner: Runner) -> str:
    """What the keys of a hook begin with in the config."""
    hooks = runner.cfg.get('custom_hooks') or []
    for number, config in enumerate(hooks):
        kind = config.get('type') if isinstance(config, dict) else None
        name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
        if name.rpartition('.')[2] == type(hook).__name__:
            return f'custom_hooks.{number}.'
    return ''
