"""Train from a config file, in one process or several.

python tools/train.py configs/ahpcl_digits.py

SIGTERM, SIGUSR1 and Ctrl-C finish the step, save and end; a second Ctrl-C
ends at once. Exit code: 0 when training is over, 75 after SIGTERM or SIGUSR1
(go on with --resume), 130 after Ctrl-C, another after an error.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS

from ahpcl.api.first_screen import build_runner
from ahpcl.cli.arguments import (
    add_common_arguments,
    add_verbose,
    prepare,
)
from ahpcl.cli.console import say
from ahpcl.cli.runs import check_checkpoint, fit_images
from ahpcl.models.fast_encoders import FastEncoders
from ahpcl.runtime.checkpoint_files import good_checkpoint
from ahpcl.runtime.optim_wrapper import use_bf16
from ahpcl.runtime.resume_settings import EXTENSIONS
from ahpcl.runtime.stop_request import TrainingStopped
from ahpcl.utils.freed_memory import keep_freed_memory

# Where dist_train.sh and slurm_train.sh read with which code training was
# stopped: torchrun and srun have codes of their own.
STOP_FILE = 'AHPCL_STOP_FILE'
# In the work folder, with the name of the job, and as old as it: torchrun or
# Slurm may start it again.
JOB_MARK = '.job'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    parser.add_argument(
        'config', help='config file, or ahpcl::NAME.py for a shipped one'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or, without a value, from the '
        'latest in the work folder',
    )
    parser.add_argument(
        '--extend',
        choices=EXTENSIONS,
        help='how to go on where max_epochs, the optimizer or the schedule '
        'was changed: stretch the schedule over all epochs, restart it now, '
        'or keep that of the checkpoint',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='encoders in bfloat16 where the device has instructions for '
        'it; elsewhere in float32',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='encoders through torch.compile; the first steps take a minute',
    )
    add_verbose(parser)
    add_common_arguments(parser)


def use_amp(cfg: Config) -> None:
    """Makes the config train in bfloat16.

    Args:
        cfg: Changed in place.

    Raises:
        SystemExit: If its optimizer wrapper is one of its own.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    kind = wrapper.get('type', 'OptimWrapper')
    name = kind if isinstance(kind, str) else kind.__name__
    name = name.rpartition('.')[2]
    if name not in ('OptimWrapper', 'AmpOptimWrapper', 'BF16OptimWrapper'):
        raise SystemExit(
            "--amp: expected an optim_wrapper of type 'OptimWrapper', got "
            f'{name!r}, whose precision is its own matter; drop --amp'
        )
    use_bf16(wrapper)


def use_compile(cfg: Config) -> None:
    """Makes the config train with compiled encoders.

    Args:
        cfg: Changed in place.

    Raises:
        SystemExit: If its model has nothing that is compiled.
    """
    kind = MODELS.get(cfg.model.type)
    if not isinstance(kind, type) or not issubclass(kind, FastEncoders):
        raise SystemExit(
            "--compile: expected a model of type 'AHPCL', "
            f'got {cfg.model.type!r}; drop --compile'
        )
    cfg.model.compile = True


def check_compile(cfg: Config) -> None:
    """Refuses the Runner's own option.

    Raises:
        SystemExit: If it is set.
    """
    if cfg.get('compile'):
        raise SystemExit(
            'expected model.compile=True (or --compile), got compile='
            f"{cfg.compile!r}, the Runner's option: it compiles the head as "
            'well, whose prototypes change shape with every rung; remove it'
        )


def use_resume(cfg: Config, resume: str) -> None:
    """Makes the config go on from a checkpoint.

    Args:
        cfg: Changed in place.
        resume: A checkpoint, or ``auto`` for the work folder's latest that is
            whole.

    Raises:
        SystemExit: If the checkpoint, or all in the work folder, are broken.
    """
    if resume != 'auto':
        cfg.resume, cfg.load_from = True, check_checkpoint(resume)
        return
    try:
        found = good_checkpoint(cfg.work_dir)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    cfg.resume = found is not None
    cfg.load_from = None if found is None else str(found)
    if found is None:
        say(
            f'--resume: no checkpoint in {cfg.work_dir}; starting from scratch'
        )


def use_extension(cfg: Config, extend: str) -> None:
    """Makes a resume change the schedule.

    Args:
        cfg: Changed in place.
        extend: One of :data:`EXTENSIONS`.

    Raises:
        SystemExit: If nothing is resumed, or the loop is one of another kind.
    """
    kind = (cfg.get('train_cfg') or {}).get('type')
    if kind != 'CheckedEpochTrainLoop':
        raise SystemExit(
            "--extend: expected train_cfg.type='CheckedEpochTrainLoop', got "
            f'{kind!r}; drop --extend'
        )
    if not cfg.get('resume'):
        raise SystemExit(
            '--extend: expected a run that is resumed, got none; add --resume'
        )
    cfg.train_cfg.extend = extend


def restarts_allowed() -> int:
    """How often torchrun may start all processes again, at most."""
    return int(os.environ.get('TORCHELASTIC_MAX_RESTARTS', 0))


def restarts_of(launcher: str) -> tuple[str, int] | None:
    """The job, and how often torchrun or Slurm started it again.

    Returns:
        None if neither does.
    """
    if restarts_allowed() > 0:
        return 'torchrun', int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0))
    job = os.environ.get('SLURM_JOB_ID')
    if launcher == 'slurm' and job:
        return f'slurm {job}', int(os.environ.get('SLURM_RESTART_COUNT', 0))
    return None


def use_own_checkpoint(cfg: Config) -> bool:
    """After a restart by torchrun or Slurm, go on from what this job wrote.

    What another one left in the work folder is not its own. The first start
    leaves a mark there.

    Args:
        cfg: Changed in place.

    Returns:
        Whether there is a checkpoint; else the job starts as it did first.
    """
    restarts = restarts_of(cfg.get('launcher', 'none'))
    if restarts is None:
        return False
    job, count = restarts
    mark = Path(cfg.work_dir) / JOB_MARK
    # A job that ended before it left its mark wrote nothing else.
    marked = mark.is_file() and mark.read_text('utf-8') == job
    if count == 0 or not marked:
        rank = os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0'))
        if rank == '0':
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(job, 'utf-8')
        return False
    found = good_checkpoint(cfg.work_dir)
    if found is None:
        return False
    if found.stat().st_mtime_ns < mark.stat().st_mtime_ns:
        return False
    cfg.resume, cfg.load_from = True, str(found)
    return True


def end_stopped(stopped: TrainingStopped) -> None:
    """Ends after a signal; torchrun must not start the processes again.

    Raises:
        TrainingStopped: Unless torchrun would do so.
    """
    told = Path(os.environ.get(STOP_FILE, ''))
    if told.is_file():  # on the machine of the script that asks
        told.write_text(str(stopped.code), 'utf-8')
    if restarts_allowed() == 0:
        raise stopped


def execute(args: argparse.Namespace) -> None:
    """Trains."""
    cfg = prepare(args)
    check_compile(cfg)
    if args.compile:
        use_compile(cfg)
    if args.amp:
        use_amp(cfg)
    resume = args.resume
    if resume is None and cfg.get('resume') and not cfg.get('load_from'):
        resume = 'auto'
    if not use_own_checkpoint(cfg) and resume is not None:
        use_resume(cfg, resume)
    if args.extend is not None:
        use_extension(cfg, args.extend)
    keep_freed_memory()
    fit_images(cfg, cfg.load_from if cfg.get('resume') else None)
    runner = build_runner(cfg, args.verbose)
    try:
        runner.train()
    except TrainingStopped as stopped:
        end_stopped(stopped)


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    execute(args)
    return 0
