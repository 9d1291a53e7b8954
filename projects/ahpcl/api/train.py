"""Training on a folder of images, with everything chosen that was not said."""

from __future__ import annotations

import copy
import inspect
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from ahpcl.compat.frameworks import scope_of
from ahpcl.compat.options import follow_ladder, spread, warn_if_new
from ahpcl.datasets.decode import admit_pixels
from ahpcl.datasets.fit_config import fit_to_images
from ahpcl.datasets.roots import Roots, roots_of
from ahpcl.datasets.scan import usable_cores
from ahpcl.runtime.checkpoint_files import good_checkpoint
from ahpcl.utils.freed_memory import keep_freed_memory
from ahpcl.utils.quiet import quiet_log
from ahpcl.utils.setting_error import written_options

from .choices import MOST_EPOCHS, make_plan, set_epochs
from .first_screen import build_runner, duration
from .pace import Pace, measure
from .plan import Plan, Request
from .survey import survey

#: Name of the config that a run holds.
CONFIG = 'config.py'
_MINUTES = 30.0


@dataclass(frozen=True)
class Run:
    """A finished training.

    It stands for its folder wherever a path is asked for.

    Attributes:
        folder: Folder of the run.
        config: Its config, complete: ``tools/train.py`` trains the same.
        checkpoint: Its last checkpoint.
    """

    folder: Path
    config: Path
    checkpoint: Path

    def __fspath__(self) -> str:
        return str(self.folder)


def train(
    folder: Roots,
    out: str | os.PathLike[str] | None = None,
    *,
    minutes: float | None = None,
    epochs: int | None = None,
    model: str | None = None,
    config: str | None = None,
    image_size: int | None = None,
    labels: str | None = 'auto',
    skip_unreadable: bool = False,
    resume: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
    verbose: bool = False,
) -> Run:
    """Train an encoder on the images of a folder, without labels.

    What is not given is chosen from the images and the machine, and the first
    screen says why: encoder, size of the views, batch, queue, ladder, epochs.
    The complete config is written to ``out/config.py`` before anything is
    trained; the same run is ``tools/train.py out/config.py``.

    Args:
        folder: The images, in any nesting; or a text file that lists their
            paths; or several of both.
        out: Folder of the run; None for ``runs/`` and the name of the folder.
        minutes: How long it may take, about. A few steps are timed to turn
            this into epochs. 30 if neither this nor ``epochs`` is given.
        epochs: How many epochs instead.
        model: ``'thin'``, ``'resnet18'``, ``'resnet34'`` or ``'resnet50'``.
        config: A config of your own, or the name of a shipped one such as
            ``'ahpcl_folder.py'``, whose encoder, sizes and rates are kept.
        image_size: Side of a view, px.
        labels: Where kNN has its classes from: ``'auto'``, ``'folders'``, a
            CSV file, or None for no kNN, see
            :func:`ahpcl.api.survey.survey`.
        skip_unreadable: Leave out files that are no images or damaged, and
            say how many; otherwise they are named and nothing is trained.
        resume: Go on with the run in ``out``, if there is one, as its own
            config says.
        cfg_options: Any other keys of the config, such as
            ``{'optim_wrapper.optimizer.lr': 0.05}``.
        verbose: Everything of the log on the console, too.

    Returns:
        The run.

    Raises:
        ValueError: If there are too few images, the time is too short for an
            epoch, ``out`` holds a run already, or options contradict one
            another; before anything is trained.

    Example:
        ``run = ahpcl.train('photos', out='runs/photos', minutes=30)``
    """
    begun = time.perf_counter()
    roots = map(os.path.expanduser, roots_of(folder))
    name = '+'.join(Path(os.path.abspath(root)).name for root in roots)
    target = Path(os.path.expanduser(out or Path('runs') / name))
    written = target / CONFIG
    checkpoint = _checkpoint_in(target)
    if resume and written.is_file():
        settings = Config.fromfile(written)
        _warn_of_other_options(settings, target, cfg_options or {})
        settings.work_dir = str(target)
        settings.resume = checkpoint is not None
        settings.load_from = checkpoint and str(checkpoint)
    else:
        if checkpoint is not None:
            raise ValueError(
                f'expected a folder without a run for out, got {target} with '
                f'{checkpoint.name}: resume=True (--resume) goes on with it, '
                'another out starts a new one'
            )
        with quiet_log():
            request = Request(
                minutes=minutes,
                epochs=epochs,
                model=model,
                config=config,
                image_size=image_size,
                labels=labels,
                skip_unreadable=skip_unreadable,
                cfg_options=cfg_options,
            )
            plan = prepare(folder, target, request, begun)
        target.mkdir(parents=True, exist_ok=True)
        plan.config.dump(written)
        # What is trained is what was written, to the bit.
        settings = Config.fromfile(written)
    keep_freed_memory()
    text = written.read_text('utf-8')
    runner = build_runner(settings, verbose)
    # The runner wrote it again, with what it goes on from.
    written.write_text(text, 'utf-8')
    runner.train()
    last = good_checkpoint(target)
    assert last is not None
    print_log(
        f'finished in {duration(time.perf_counter() - begun)}: {last}; what '
        f'it learnt: ahpcl report {target}',
        logger='current',
    )
    return Run(target, written, last)


def prepare(
    folder: Roots,
    out: str | os.PathLike[str],
    request: Request,
    begun: float | None = None,
) -> Plan:
    """Choose all that :func:`train` would, and train nothing.

    Args:
        folder: The images, in any nesting.
        out: Folder of the run.
        request: What the user said.
        begun: When the minutes began, of ``time.perf_counter``; None for now.

    Raises:
        ValueError: As :func:`train`.
    """
    begun = time.perf_counter() if begun is None else begun
    for key, value in (request.cfg_options or {}).items():
        if key.rpartition('.')[2] == 'max_pixels':
            admit_pixels(value)
    images = survey(folder, request.labels)
    plan = make_plan(
        images,
        request,
        on_gpu=torch.cuda.is_available(),
        cores=usable_cores(),
    )
    plan.config.work_dir = str(out)
    plan.config.launcher = 'none'
    _apply(plan.config, request.cfg_options or {})
    init_default_scope(scope_of(plan.config))
    fit_to_images(plan.config)
    pace = None
    if request.epochs is not None:
        set_epochs(plan, request.epochs)
        plan.reasons['epochs'] = 'as asked for'
    else:
        asked = request.minutes
        minutes = _MINUTES if asked is None else asked
        set_epochs(plan, 1)
        pace = measure(plan.config)
        budget = 60 * minutes - (time.perf_counter() - begun)
        set_epochs(plan, _epochs_in(plan, pace, budget, minutes))
    # What was asked for is not changed by what follows from the epochs.
    _merge(plan.config, request.cfg_options or {})
    if plan.config.optim_wrapper.type != 'BF16OptimWrapper':
        plan.reasons.pop('precision', None)
    if pace is not None:
        plan.config.expected_seconds = round(_seconds(plan, pace), 1)
        plan.reasons['epochs'] = (
            f'{1000 * pace.step:.0f} ms a step were measured'
        )
    plan.config.choices = dict(plan.reasons)
    return plan


def _apply(config: Config, options: Mapping[str, Any]) -> None:
    """Merge ``cfg_options``; a variable reaches what was made from it."""
    known = set(inspect.signature(Runner.__init__).parameters)
    for key, new in options.items():
        warn_if_new(config, key, known, _warn)
        old = config.get(key) if '.' not in key else None
        if isinstance(old, str | int | float) or (key in config and not old):
            spread(config._cfg_dict, key, old, new)
    _merge(config, options)


def _warn_of_other_options(
    config: Config, folder: Path, options: Mapping[str, Any]
) -> None:
    """Say which options a run that goes on does not have."""
    for key, value in options.items():
        changed = copy.deepcopy(config)
        changed.merge_from_dict({key: value})
        if changed._cfg_dict != config._cfg_dict:
            option = written_options({key: value})
            _warn(
                f'{option} is not read, as {folder} goes on as its {CONFIG} '
                f'says; with it: ahpcl run {folder / CONFIG} --work-dir '
                f'{folder} --resume --cfg-options {option}'
            )


def _merge(config: Config, options: Mapping[str, Any]) -> None:
    config.merge_from_dict(dict(options))
    follow_ladder(config, options, print_log)


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)


def _checkpoint_in(folder: Path) -> Path | None:
    return good_checkpoint(folder) if folder.is_dir() else None


def _seconds(plan: Plan, pace: Pace) -> float:
    images = plan.images
    checked = images.labelled if plan.config.get('val_dataloader') else 0
    return pace.seconds(plan.config, images.count, min(checked, 10_000))


def _epochs_in(plan: Plan, pace: Pace, budget: float, minutes: float) -> int:
    """Return the most epochs that fit into so many seconds.

    Raises:
        ValueError: If not one does.
    """

    def needed(epochs: int) -> float:
        set_epochs(plan, epochs)
        return _seconds(plan, pace)

    if needed(1) > budget:
        least = minutes + (needed(1) - budget) / 60
        # Measured again it may be a little slower.
        least = max(0.1, round(1.3 * least + 0.05, 1))
        raise ValueError(
            f'expected minutes for an epoch of {plan.images.count:,} images, '
            f'got {minutes:g}: at the pace measured here it '
            f'takes {least:g}; give minutes={least:g} or more, or a smaller '
            'image_size'
        )
    low, high = 1, MOST_EPOCHS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if needed(middle) <= budget else (low, middle - 1)
        )
    return low
