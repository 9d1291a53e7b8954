"""What must survive a stop: declared once, kept in every checkpoint."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import (
    all_gather_object,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.utils import apply_to

from ahpcl.runtime.run_images import IMAGES, RunImages
from ahpcl.utils.deprecation import REMOVAL
from ahpcl.utils.ranks import sync_batch_norm_stats, unwrap

#: Where a checkpoint holds it.
KEY = 'ahpcl'
_RANKS = 'ranks'
_BATCHES = 'batches'


@dataclass(frozen=True)
class _Part:
    get: Callable[[], Any]
    per_rank: bool
    within_epoch: bool


class TrainState(Hook):
    """The state of a training beside weights, optimizer and schedules.

    Whoever has some declares it in ``before_train``::

        state = TrainState.of(runner)
        state.keep_object('ladder', self.ladder)
        state.keep('labels', lambda: self.labels, self.hand_over)

    From then on it is in every checkpoint, under ``ahpcl``: what all ranks
    share by its name, what every rank has for itself in ``ranks``, a list
    with one dict for each of them. In a checkpoint that is written within an
    epoch ``batches`` says how many batches were done. ``images`` lists the
    training images, so that what is said of them is found by name.

    A run that is resumed gets a part back when it is declared; ``load_from``
    restores nothing. The hook must be there before the checkpoint is loaded:
    :class:`CheckedEpochTrainLoop` and :class:`AtomicCheckpointHook` see to
    that, and a hook that shall resume without them calls :meth:`of` in
    ``before_run``.

    At the end of every epoch it averages the statistics of batch norm over
    the ranks, so that the checkpoint of rank 0 holds those of all.
    """

    # After the hooks whose state it is, before those that look at the model
    # or write a checkpoint.
    priority = 'BELOW_NORMAL'

    def __init__(self) -> None:
        self._parts: dict[str, _Part] = {}
        self._too_late = False  # a checkpoint was loaded before
        self._kept: dict[str, Any] | None = None  # by the checkpoint
        self._ranks: list[dict] | None = None  # on rank 0: what they gave
        self._batches: int | None = None  # while one within is written
        self._images: RunImages | None = None

    @classmethod
    def of(cls, runner: Runner) -> TrainState:
        """The state of a run, made when it is asked for first."""
        for hook in runner.hooks:
            if isinstance(hook, cls):
                return hook
        state = cls()
        state._too_late = is_resume(runner) and runner._has_loaded
        # mmengine may be going through its list: it gets another one.
        runner._hooks = list(runner._hooks)
        runner.register_hook(state)
        return state

    @property
    def resumed(self) -> bool:
        """Whether the run goes on from a checkpoint, until its first epoch."""
        return self._kept is not None

    def keep(
        self,
        name: str,
        get: Callable[[], Any],
        set: Callable[[Any], object],
        *,
        per_rank: bool = False,
        within_epoch: bool = False,
    ) -> None:
        """Declare a part of the state; restores it where a run is resumed.

        Args:
            name: Name of the part in the checkpoint.
            get: Gives plain numbers, text, tensors on any device, and dicts
                and lists of them; None if there is nothing to keep.
            set: Takes what ``get`` gave, but not None. Tensors are where the
                checkpoint was loaded to.
            per_rank: Whether every rank has its own.
            within_epoch: Whether it begins afresh with every epoch, so that
                only checkpoints within an epoch need it.

        Raises:
            ValueError: If the checkpoint is of another method: without this
                part, or with one of another kind; or of another number of
                processes, for what a rank has within an epoch.
        """
        assert not self._too_late, 'expected TrainState.of in before_run'
        self._parts[name] = _Part(get, per_rank, within_epoch)
        if self._kept is None:
            return
        if within_epoch and _BATCHES not in self._kept:
            return
        kept: Mapping[str, Any] | None = self._kept
        if per_rank:
            kept = self._kept_of_rank(name)
        if kept is None:
            return
        if name not in kept:
            raise ValueError(_of_another_method(name, 'none'))
        if kept[name] is None:
            return
        try:
            set(kept[name])
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            found = f'one of another kind ({type(error).__name__}: {error})'
            raise ValueError(_of_another_method(name, found)) from error

    def keep_object(self, name: str, thing: Any, **scope: bool) -> None:
        """Declare an object with ``state_dict`` and ``load_state_dict``.

        Args:
            name: Name of the part in the checkpoint.
            thing: The object; None where this run has none.
            **scope: As in :meth:`keep`.

        Raises:
            ValueError: As in :meth:`keep`.
        """
        if thing is None:
            self.keep(name, lambda: None, lambda _: None, **scope)
        else:
            self.keep(name, thing.state_dict, thing.load_state_dict, **scope)

    def images(self, runner: Runner) -> RunImages:
        """The training images, and which of them the checkpoint was about.

        Looked at once, when a training starts; the first call is collective.

        Raises:
            ValueError: If the run goes on within an epoch with other images:
                which of them come next is no more the same.
        """
        if self._images is None:
            self._images = RunImages.look_at(
                runner.train_loop.dataloader.dataset,
                self.kept(IMAGES),
                self.resumed,
            )
            if self.resumed and _BATCHES in self._kept:
                self._images.check_unchanged()
        return self._images

    def kept(self, name: str) -> Any:
        """What the checkpoint keeps of a part, before it is restored.

        None where it keeps nothing of that name, and where the run does not
        go on from a checkpoint.
        """
        return None if self._kept is None else self._kept.get(name)

    @contextmanager
    def within_epoch(self, batches: int | None) -> Iterator[None]:
        """Within, checkpoints are of the middle of an epoch.

        A collective call: the ranks give what each has for itself.

        Args:
            batches: Batches of the epoch that are done; None where the epoch
                has not begun, and nothing that belongs to one is kept.
        """
        before, self._batches = self._ranks, batches
        self._gather()
        try:
            yield
        finally:
            self._batches = None
            self._ranks = before

    def after_load_checkpoint(self, runner: Runner, checkpoint: Any) -> None:
        """Remember what a checkpoint keeps, on resume only.

        Raises:
            ValueError: If it is of the middle of an epoch, and the loop
                cannot begin there.
        """
        # Another hook says what is wrong with a file that holds no dict.
        if not is_resume(runner) or not isinstance(checkpoint, Mapping):
            return
        self._kept = kept_state(checkpoint)
        if _BATCHES not in self._kept:
            return
        if not hasattr(runner.train_loop, 'resume_mid_epoch'):
            raise ValueError(
                "expected train_cfg.type='CheckedEpochTrainLoop' to go on "
                f'within an epoch, got {type(runner.train_loop).__name__}; '
                'name the checkpoint of an epoch with --resume FILE'
            )
        runner.train_loop.resume_mid_epoch(self._kept[_BATCHES])

    def before_train(self, runner: Runner) -> None:
        """Look at the training images, if no one has."""
        self.images(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Forget the checkpoint: everything has been restored."""
        self._kept = None

    def after_train_epoch(self, runner: Runner) -> None:
        """Make ready for a checkpoint; two collective calls at most."""
        sync_batch_norm_stats(unwrap(runner.model))
        self._gather()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the state; runs on rank 0 only."""
        kept = self._values(per_rank=False)
        if self._ranks is not None:
            kept[_RANKS] = self._ranks
        if self._batches is not None:
            kept[_BATCHES] = self._batches
        if self._images is not None and self._images.state is not None:
            kept[IMAGES] = self._images.state
        if kept:
            checkpoint[KEY] = kept

    def _values(self, per_rank: bool) -> dict[str, Any]:
        """What is to be kept now, on the CPU."""
        values = {
            name: part.get()
            for name, part in self._parts.items()
            if part.per_rank == per_rank
            and (self._batches is not None or not part.within_epoch)
        }
        return apply_to(values, torch.is_tensor, lambda value: value.cpu())

    def _gather(self) -> None:
        own = self._values(per_rank=True)
        self._ranks = None
        if own:
            ranks = all_gather_object(own)
            self._ranks = ranks if is_main_process() else None

    def _kept_of_rank(self, name: str) -> dict | None:
        assert self._kept is not None
        ranks = self._kept.get(_RANKS)
        if ranks is None:
            return {}
        if len(ranks) == get_world_size():
            return ranks[get_rank()]
        if _BATCHES in self._kept:
            raise ValueError(
                f'expected to go on within an epoch with {len(ranks)} '
                'process(es), as in the checkpoint, got '
                f'{get_world_size()}; start {len(ranks)}, or name the '
                'checkpoint of an epoch with --resume FILE'
            )
        print_log(
            f'expected {name} of {get_world_size()} process(es) in the '
            f'checkpoint, got some of {len(ranks)}: it begins afresh',
            logger='current',
            level=logging.WARNING,
        )
        return None


def is_resume(runner: Runner) -> bool:
    """Whether a checkpoint is loaded to go on from, not to start from."""
    return bool(getattr(runner, '_resume', False))


def kept_state(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps, as :class:`TrainState` lays it out.

    Args:
        checkpoint: The content of a file of this version or of version 0.1,
            whose hooks wrote to places of their own: ``pseudo_labels``,
            ``swav`` and ``within_epoch`` beside ``ahpcl``.

    Returns:
        The parts by name; empty if there are none.
    """
    kept = dict(checkpoint.get(KEY) or {})
    if 'pseudo_labels' in checkpoint:
        kept['pseudo_labels'] = checkpoint['pseudo_labels']
    if 'hierarchy' in kept:  # runs did not end with an E-step
        kept.setdefault('closing', None)
        kept.setdefault('index', None)
        for name in ('signals', 'estep_epoch'):  # 0.2.0 kept neither
            kept.setdefault(name, None)
    within = checkpoint.get('within_epoch')
    if 'means' in kept or within is not None:  # of 0.1
        warnings.warn(
            'this checkpoint is of version 0.1: it goes on as before, and '
            'what is saved from now on is of this version; going on from '
            f'such checkpoints {REMOVAL}',
            FutureWarning,
            stacklevel=1,  # here: it is said once, whoever reads
        )
    if 'means' in kept:
        del kept['means'], kept['linkage']
        kept.setdefault('bank', None)
        if within is None:
            del kept['agreement']
    ranks: list[dict] = []
    for old in [] if within is None else within['ranks']:
        own = dict(
            batch_norm=old['buffers'], gradients=old.get('gradients') or None
        )
        if 'AdaptiveClusterHook' in old['hooks']:
            own['means'] = old['hooks']['AdaptiveClusterHook']
        ranks.append(own)
        kept[_BATCHES] = within['batches']
        kept['data'] = old.get('batches')
        kept['changes'] = old['hooks'].get('OnlineClusteringHook')
    if 'swav' in checkpoint:
        queues = checkpoint['swav']['queues']
        filled = checkpoint['swav']['filled']
        if not ranks:
            number = get_world_size() if queues is None else len(queues)
            ranks = [{} for _ in range(number)]
        for rank, own in enumerate(ranks):
            own['queue'] = None
            if queues is not None:
                own['queue'] = dict(features=queues[rank], filled=filled)
    if ranks:
        kept[_RANKS] = ranks
    return kept


def _of_another_method(name: str, found: str) -> str:
    return (
        f'expected a checkpoint with the state {name!r}, got {found}: it is '
        'of another method or other settings; start from its weights with '
        'load_from=... and resume=False'
    )
