"""What a resumed run keeps of its checkpoint, and what the config says."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ahpcl.runtime.config_difference import config_difference, read_text
from ahpcl.runtime.mid_epoch import data_sizes
from ahpcl.runtime.train_state import is_resume, kept_state

#: How a run whose schedule or optimizer was changed may go on.
EXTENSIONS = ('stretch', 'restart', 'keep')
# What the state of the optimizer and the schedules holds.
_RATES = ('optim_wrapper.optimizer', 'optim_wrapper.paramwise', 'param_sched')
# How a step is computed, not what.
_HOW = ('fused', 'foreach', 'capturable', 'differentiable')
_LENGTH = 'train_cfg.max_epochs'
# Part of the first rate below which a training learns nothing more.
_LEAST_RATE = 0.1
_REMEDY = (
    "with train_cfg.extend='stretch' (--extend stretch) the schedule becomes "
    "that of the config from the first epoch on, with extend='restart' it "
    "begins again with this epoch, with extend='keep' all stays as it is in "
    'the checkpoint'
)


class ResumeSettings(Hook):
    """Says what a resume keeps, and extends a schedule where it is told to.

    mmengine takes weights, the optimizer with its rate, and the schedules from
    the checkpoint, whatever the config says of them: a finished run that is
    given more epochs stays at the last rate of its cosine, and a new
    ``optimizer.lr`` is ignored. Here both are refused unless ``extend`` says
    what shall be done; the log names every setting in which the config
    differs from that of the checkpoint. A run that is resumed with the
    config it had goes on exactly as it would have gone on.

    Args:
        extend: For a run whose length, optimizer or schedule was changed.
            ``'stretch'``: schedule and optimizer are those of the config as
            if it had been so from the start. ``'restart'``: they begin again
            with the epoch that comes next, and end with the training.
            ``'keep'``: they stay as they are in the checkpoint, at the last
            rate where the schedule has ended. None refuses the change, but
            stretches the schedule where there are more images than before.

    Raises:
        ValueError: For another ``extend``; on resume, if the config changes
            what the checkpoint decides and ``extend`` is None.
    """

    # After those that refuse a checkpoint of another model.
    priority = 'LOWEST'

    def __init__(self, extend: str | None = None) -> None:
        if extend is not None and extend not in EXTENSIONS:
            raise ValueError(
                f'expected train_cfg.extend to be one of {EXTENSIONS} or '
                f'None, got {extend!r}'
            )
        self.extend = extend

    def after_load_checkpoint(self, runner: Runner, checkpoint: Any) -> None:
        """Compare, say, and extend: changes the checkpoint in place."""
        if not is_resume(runner) or not isinstance(checkpoint, Mapping):
            return
        meta = checkpoint.get('meta')
        if not isinstance(meta, Mapping) or 'epoch' not in meta:
            return  # another hook says that nothing can go on from it
        name = getattr(runner, '_load_from', None) or 'the checkpoint'
        _say(
            f'resume from {name} after epoch {meta["epoch"]}: weights, '
            'optimizer with its rate, schedules, seed, ladder and prototypes '
            'are those of the checkpoint, all other settings those of the '
            'config'
        )
        if 'optimizer' not in checkpoint:
            _say("resume: it has no optimizer, which is the config's")
            return
        total = runner.max_epochs
        if meta['epoch'] >= total:
            _say(
                f'resume: the training of {total} epochs is over; for more '
                'set train_cfg.max_epochs and say how the schedule goes on, '
                'such as with --extend restart'
            )
            return
        kept = kept_state(checkpoint)
        sizes = kept.get('data') if 'batches' in kept else None
        if sizes and sizes != {**sizes, **data_sizes(runner)}:
            return  # the loop refuses to go on within an epoch
        changed = _changes(runner, meta)
        fixed = [k for k in changed if k.startswith(_RATES)]
        fixed = [k for k in fixed if k.rpartition('.')[2] not in _HOW]
        short = _ends_early(runner, checkpoint)
        extendable = bool(fixed or short or _LENGTH in changed)
        extend = self.extend
        alike = bool(read_text(str(meta.get('cfg') or '')))
        if extend is None and short and alike and not _longer(changed):
            # There are more images than before, so an epoch has more steps.
            extend = 'stretch' if not fixed else None
        if extendable and extend in ('stretch', 'restart'):
            _tell(changed, kept=('randomness.seed',))
            _extend(runner, checkpoint, extend)
            return
        if extend is None:
            _refuse(fixed, changed, short)
        _tell(changed, kept=('randomness.seed', *_RATES))
        if short:
            _say(f'resume: {short}', logging.WARNING)


def _extend(
    runner: Runner, checkpoint: Mapping[str, Any], extend: str
) -> None:
    """Put the config's optimizer and schedule into a checkpoint."""
    loop = runner.train_loop
    epochs, batches = _position(checkpoint)
    total = loop.max_epochs
    said = f'is stretched over {total} epochs'
    if extend == 'restart':
        said = (
            f'begins again with epoch {epochs + 1} and ends with epoch {total}'
        )
        loop._max_epochs, epochs = total - epochs, 0
    loop._max_iters = loop._max_epochs * len(loop.dataloader)
    _reset_rates(runner)
    config = runner.cfg.get('param_scheduler')
    if config is None and runner.param_schedulers:
        raise ValueError(
            f'expected param_scheduler in the config for extend='
            f"{extend!r}, got schedules that are built; take 'keep'"
        )
    try:
        if config is not None:
            runner.param_schedulers = runner.build_param_scheduler(config)
    finally:
        loop._max_epochs = total
        loop._max_iters = total * len(loop.dataloader)
    _advance(runner, epochs, batches)
    for name, optimizer in _optimizers(runner):
        state = _at(checkpoint['optimizer'], name)
        groups = state['param_groups']
        # Another number of groups is refused by the optimizer.
        for kept, own in zip(groups, optimizer.param_groups, strict=False):
            kept.update({k: v for k, v in own.items() if k != 'params'})
        schedules = [s.state_dict() for s in _schedules(runner, name)]
        if name is None:
            checkpoint['param_schedulers'] = schedules
        else:
            checkpoint['param_schedulers'][name] = schedules
        rate = optimizer.param_groups[0]['lr']
        _say(
            f'extend={extend!r}: the schedule {said}; it and the '
            f"optimizer's settings are the config's: rate {rate:.4g} now"
        )


def _longer(changed: Mapping[str, tuple[str, str]]) -> bool:
    """Tell whether the config asks for more steps than that of before."""
    return any(
        key == _LENGTH or key.startswith('train_dataloader.batch_size')
        for key in changed
    )


def _changes(
    runner: Runner, meta: Mapping[str, Any]
) -> dict[str, tuple[str, str]]:
    before = read_text(str(meta.get('cfg') or ''))
    if not before:
        return {}
    return config_difference(before, runner.cfg.to_dict())


def _refuse(
    fixed: list[str], changed: Mapping[str, tuple[str, str]], short: str
) -> None:
    """Raise for what the config says and the checkpoint decides.

    Raises:
        ValueError: If there is something.
    """
    if fixed:
        found = '; '.join(
            f'{key}={changed[key][1]} instead of {changed[key][0]}'
            for key in fixed
        )
        raise ValueError(
            'expected the optimizer and the schedule of the checkpoint, which '
            f'a resume keeps, got {found}: set them back, or say what to do: '
            f'{_REMEDY}'
        )
    if 'learns nothing' in short:
        raise ValueError(
            'expected a schedule that lasts as long as the training, got one '
            f'of the checkpoint that does not: {short}. Set '
            'train_cfg.max_epochs back, or say what to do: ' + _REMEDY
        )


def _tell(changed: dict[str, tuple[str, str]], kept: tuple[str, ...]) -> None:
    for key, (before, now) in changed.items():
        if key.startswith(kept):
            _say(
                f'resume: {key} stays {before} as in the checkpoint, not '
                f'{now} as in the config',
                logging.WARNING,
            )
        else:
            _say(f'resume: {key} is {now} from now on, was {before}')


def _ends_early(runner: Runner, checkpoint: Mapping[str, Any]) -> str:
    """Say when the rates of a checkpoint end before the training does.

    Advances the runner's schedules, which get the state of the checkpoint
    afterwards.

    Returns:
        A sentence; empty if they last, or end where the config ends them.
    """
    epochs, batches = _position(checkpoint)
    total, length = runner.train_loop.max_epochs, len(runner.train_dataloader)
    found = ''
    for name, optimizer in _optimizers(runner):
        kept = _at(checkpoint.get('param_schedulers') or {}, name) or []
        kept = [state for state in kept if state['param_name'] == 'lr']
        own = [s for s in _schedules(runner, name) if s.param_name == 'lr']
        if not kept or len(own) != len(kept):
            continue
        needed = {
            True: total - epochs,
            False: (total - epochs) * length - batches,
        }
        lasting = zip(own, kept, strict=True)
        if any(
            state['end'] == schedule.end
            or state['end'] - state['_global_step']
            >= needed[state['by_epoch']]
            for schedule, state in lasting
        ):
            continue
        rate, first = _last_rate(optimizer, own, kept, checkpoint, name)
        nothing = rate < _LEAST_RATE * first
        found = (
            f'the rate ends before epoch {total} and then stays at '
            f'{rate:.3g}, {rate / first:.2%} of the first one'
            f'{", where it learns nothing" if nothing else ""}'
        )
    return found


def _last_rate(
    optimizer: Any,
    schedules: list,
    kept: list[dict],
    checkpoint: Mapping[str, Any],
    name: str | None,
) -> tuple[float, float]:
    """The rate at which schedules of a checkpoint end, and the first one."""
    groups = _at(checkpoint['optimizer'], name)['param_groups']
    for own, group in zip(optimizer.param_groups, groups, strict=False):
        own['lr'] = group['lr']
    for schedule, state in zip(schedules, kept, strict=True):
        schedule.load_state_dict(state)
    while any(s._global_step < s.end for s in schedules):
        for schedule in schedules:
            schedule.step()
    first = groups[0].get('initial_lr', groups[0]['lr'])
    return optimizer.param_groups[0]['lr'], first or 1.0


def _advance(runner: Runner, epochs: int, batches: int) -> None:
    """Step the runner's schedules as a training of that length does."""
    everything = [
        s for name, _ in _optimizers(runner) for s in _schedules(runner, name)
    ]
    by_step = [s for s in everything if not s.by_epoch]
    by_epoch = [s for s in everything if s.by_epoch]
    for schedule in everything:
        # No optimizer steps here, of which mmengine would warn.
        schedule.optimizer._global_step = 0
    length = len(runner.train_dataloader)
    for epoch in range(epochs + 1):
        for _ in range(length if epoch < epochs else batches):
            for schedule in by_step:
                schedule.step()
        for schedule in by_epoch if epoch < epochs else ():
            schedule.step()


def _reset_rates(runner: Runner) -> None:
    for _, optimizer in _optimizers(runner):
        for group in optimizer.param_groups:
            for key in [k for k in group if k.startswith('initial_')]:
                group[key.removeprefix('initial_')] = group[key]


def _position(checkpoint: Mapping[str, Any]) -> tuple[int, int]:
    """Epochs that are done, and batches of the one that is begun."""
    return checkpoint['meta']['epoch'], kept_state(checkpoint).get(
        'batches', 0
    )


def _optimizers(runner: Runner) -> Iterator[tuple[str | None, Any]]:
    """Optimizers by name; the only one has none."""
    wrapper = runner.optim_wrapper
    if hasattr(wrapper, 'items'):
        yield from ((name, one.optimizer) for name, one in wrapper.items())
    else:
        yield None, wrapper.optimizer


def _schedules(runner: Runner, name: str | None) -> list:
    return _at(runner.param_schedulers or [], name)


def _at(things: Any, name: str | None) -> Any:
    return things if name is None or isinstance(things, list) else things[name]


def _say(text: str, level: int = logging.INFO) -> None:
    print_log(text, logger='current', level=level)
