"""The controller of the circle: E-step, prototypes, signals, ladder."""

import time

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TASK_UTILS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ahpcl.core import (
    ClusterLadder,
    Decision,
    PrototypeHierarchy,
    seed_from,
)
from ahpcl.core.clustering.carry_over import carry_over
from ahpcl.core.schedule.signal_means import SignalMeans
from ahpcl.core.validation import whole_number
from ahpcl.models.feature_bank import FeatureBank
from ahpcl.models.protocols import (
    LearnsPrototypes,
    TakesPrototypes,
    require,
)
from ahpcl.runtime.mid_epoch import continues_epoch
from ahpcl.runtime.train_state import TrainState
from ahpcl.utils.ranks import sync_batch_norm_stats, unwrap
from ahpcl.utils.setting_error import Problems

from .cluster_log import ClusterLog
from .epoch_means import EpochMeans
from .estep import EStep, EStepResult
from .extraction import build_extract_loader, whole_features
from .extraction_settings import ExtractionSettings
from .schedule import build_ladder, falls_due, resumed_ladder
from .training_index import INDEX, TrainingIndex


@HOOKS.register_module()
class AdaptiveClusterHook(Hook):
    """Runs the E-step and decides when to go to the next rung.

    Before an epoch it clusters the features of all images at the rungs in use
    and hands the prototypes to the head; after it, it shows the means of the
    training signals to the policy and moves the ladder as the policy says.
    A run ends with an E-step, so that its last checkpoint holds prototypes
    and assignments of its last weights: that of the epoch that would come
    next, which a run that is resumed for more epochs does not repeat. With it
    goes a :class:`TrainingIndex`, by which other images are assigned.
    What of it must survive a stop it declares to :class:`TrainState`.

    Args:
        extract_dataloader: Config of a loader over the training images, in
            order and all of them, with a deterministic pipeline.
        ladder: Config of the ladder: ``rungs`` and ``window``, or another
            ``type``.
        policy: Config of the policy; None never moves the ladder.
        clustering: Config of the clustering, see :class:`KMeansClustering`.
        linkage: ``'independent'``, ``'agglomerative'`` or ``'divisive'``.
        label_smoothing: Config of the smoothing, see
            :class:`LadderSmoothing`; None for none.
        warmup_epochs: Epochs with the instance loss alone.
        interval: Epochs that an E-step serves; an advance forces one. The
            policy is shown means over so many epochs, see
            :class:`ahpcl.core.schedule.signal_means.SignalMeans`.
        features: ``'extract'``: an E-step passes all images through the key
            encoder. ``'bank'``: it takes the keys of the training pass
            instead, one augmented view per image, up to an epoch old.
        refresh_every: With a bank, an E-step extracts all the same in its
            first epoch and then every so many epochs.
        extraction: Config of the pass, see :class:`ExtractionSettings`.

    Raises:
        ValueError: at the start of training, for settings that cannot work.
    """

    # After the signals are there and before the checkpoint is written.
    priority = 'NORMAL'

    def __init__(
        self,
        extract_dataloader: dict | DataLoader,
        ladder: dict,
        policy: dict | None = None,
        clustering: dict | None = None,
        linkage: str = 'independent',
        label_smoothing: dict | None = None,
        warmup_epochs: int = 0,
        interval: int = 1,
        features: str = 'extract',
        refresh_every: int = 10,
        extraction: dict | None = None,
    ) -> None:
        if features not in ('extract', 'bank') or refresh_every < 1:
            raise ValueError(
                "expected features 'extract' or 'bank' and refresh_every of "
                f'at least 1, got {features!r} and {refresh_every}'
            )
        if linkage not in ('independent', 'agglomerative', 'divisive'):
            raise ValueError(
                "expected linkage 'independent', 'agglomerative' or "
                f"'divisive', got {linkage!r}"
            )
        self.warmup_epochs = whole_number(
            warmup_epochs, 'warmup_epochs', least=0
        )
        self.interval = whole_number(interval, 'interval', least=1)
        self.linkage = linkage
        self.ladder: ClusterLadder | None = None
        self.policy = None if policy is None else TASK_UTILS.build(policy)
        self._clustering = TASK_UTILS.build(
            {'type': 'KMeansClustering', **(clustering or {})}
        )
        self._smoothing = TASK_UTILS.build(
            {'type': 'LadderSmoothing', **(label_smoothing or {'ceiling': 0})}
        )
        if (
            getattr(self.policy, 'needs_agreement', False)
            and self._clustering.warm_start
        ):
            raise ValueError(
                'expected clustering.warm_start=False with '
                f'{type(self.policy).__name__}, got True: warm starts '
                'inflate the agreement that it watches'
            )
        self.features = features
        self.refresh_every = refresh_every
        self._extraction = ExtractionSettings(**(extraction or {}))
        self._extract_config = extract_dataloader
        self._ladder_config = ladder
        self._means = EpochMeans()
        self._signals = SignalMeans(interval)
        self._log = ClusterLog()
        self._estep: EStep | None = None
        self._last: EStepResult | None = None
        self._agreement: float | None = None
        # After the last E-step of a run: its epoch and agreement.
        self._closing: dict | None = None
        self._index: TrainingIndex | None = None
        self._epoch_start = 0.0
        self._done_at: int | None = None  # epoch whose E-step came earlier
        self._estep_epoch: int | None = None  # that the last E-step was for

    # ---- the circle -----------------------------------------------------

    def before_run(self, runner: Runner) -> None:
        """Let there be a state before a checkpoint is loaded."""
        TrainState.of(runner)

    def check_images(self, num_images: int, device: torch.device) -> None:
        """Refuse what so many images cannot be clustered by.

        Args:
            num_images: N.
            device: Where they are clustered.

        Raises:
            ValueError: If the ladder, or the clustering at a window of it,
                does not fit them.
        """
        problems = Problems()
        with problems.checking('ladder.'):
            ladder = build_ladder(self._ladder_config, num_images)
        problems.report(f'{num_images} images')
        self._clustering.check(ladder, num_images, self.linkage, device)

    def before_train(self, runner: Runner) -> None:
        """Build and check everything; declare what persists."""
        model = require(
            unwrap(runner.model),
            LearnsPrototypes,
            "a model of type 'AHPCL'",
            'leave the AdaptiveClusterHook out of custom_hooks',
        )
        require(
            model.head,
            TakesPrototypes,
            "model.head of type 'HPCLHead'",
            "set model.head=dict(type='HPCLHead')",
        )
        train = runner.train_loop.dataloader
        loader = build_extract_loader(self._extract_config, runner)
        num_images = len(train.dataset)
        device = next(model.parameters()).device
        self.check_images(num_images, device)
        state = TrainState.of(runner)
        self.ladder = resumed_ladder(
            self._ladder_config, num_images, state.kept('ladder')
        )
        self._clustering.check(self.ladder, num_images, self.linkage, device)
        model.head.check_linkage(self.linkage)
        model.head.check_rungs(self.ladder.rungs, self.ladder.window)
        self._estep = EStep(
            loader,
            self._clustering,
            self.linkage,
            self._extraction,
            self._keep_keys(model, num_images),
            self.interval,
        )
        before = self._declare(runner, state, model)
        model.start_training(runner.seed, runner.iter)
        self._log.plan(
            runner,
            self.ladder,
            self.policy,
            max(self.warmup_epochs, runner.epoch),
        )
        if before is not None:
            self._start_estep(runner, *before)

    def before_train_epoch(self, runner: Runner) -> None:
        """E-step, if it is time for one."""
        self._epoch_start = time.perf_counter()
        self._last = None
        closing, self._closing = self._closing, None
        self._index = None  # it is of the weights of a finished run
        if self._done_at == runner.epoch:  # other images, so at the start
            return
        if runner.epoch < self.warmup_epochs or continues_epoch(runner):
            return
        model = unwrap(runner.model)
        previous = model.head.hierarchy
        if closing is not None and _fits_space(model):
            previous = None  # those at hand are of another space
        elif closing is not None and closing['epoch'] == runner.epoch:
            self._agreement = closing['agreement']
            self._estep_epoch = runner.epoch
            self._log.goes_on(runner)
            return
        if previous is not None and self._serves(previous, runner.epoch):
            return
        self._run_estep(runner, previous)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Add the signals of the batch to those of the epoch."""
        self._means.update(outputs, len(data_batch['data_samples']))

    def after_train_epoch(self, runner: Runner) -> None:
        """Show the means to the policy, step the ladder; end the run."""
        model = unwrap(runner.model)
        device = next(model.parameters()).device
        means = self._means.compute(device)
        self._means.reset()
        rungs = self.ladder.current
        decision: Decision | None = None
        shown: tuple[float, float] | None = None
        if model.head.hierarchy is not None and self.policy is not None:
            shown = self._signals.add(means['acc_inst'], means['acc_proto'])
            decision = self.policy.step(
                *shown,
                runner.epoch,
                rungs=rungs,
                agreement=self._agreement,
            )
        advanced = False
        if decision is not None and decision.action == 'advance':
            advanced = self.ladder.advance()
            self._signals.clear()
        seconds = time.perf_counter() - self._epoch_start
        self._log.epoch(
            runner,
            means=means,
            shown=shown if self.interval > 1 else None,
            rungs=rungs,
            decision=decision,
            advanced=advanced,
            ladder=self.ladder,
            policy=self.policy,
            agreement=self._agreement,
            estep=self._last,
            seconds=seconds,
        )
        # What was measured between two E-steps counts once.
        self._agreement = None
        if self.is_last_train_epoch(runner):
            # Each rank has its own until TrainState's turn.
            sync_batch_norm_stats(model)
            self._close(runner, runner.epoch + 1)

    def after_train(self, runner: Runner) -> None:
        """End a run that a condition stopped before its last epoch."""
        if runner.train_loop.stop_training:
            self._close(runner, runner.epoch)

    # ---- what persists --------------------------------------------------

    def _declare(
        self, runner: Runner, state: TrainState, model: nn.Module
    ) -> tuple[PrototypeHierarchy, Tensor] | None:
        """Declare what persists, and take over what a checkpoint keeps.

        Returns:
            Prototypes to which some of the images at hand were not assigned,
            and where every image was before; None where there are none.
        """
        device = next(model.parameters()).device
        images = state.images(runner)
        places = images.places
        unassigned: list[PrototypeHierarchy] = []

        def hierarchy() -> dict | None:
            found = model.head.hierarchy
            return None if found is None else found.state_dict()

        def set_hierarchy(kept: dict) -> None:
            found = PrototypeHierarchy.from_state_dict(kept).to(device)
            images.check_number(len(found[0].assignments))
            if places is not None and not images.changes.same_images:
                unassigned.append(found)
                return
            if places is not None:
                found = carry_over(found, places)
            self._hand_over(model, found)

        def bank() -> dict | None:
            found = self._estep.bank
            return None if found is None else found.state_dict()

        def set_bank(kept: dict) -> None:
            if self._estep.bank is not None:
                self._estep.bank.load_state_dict(kept, places)

        def set_closing(kept: dict) -> None:
            self._closing = dict(kept)

        def index() -> dict | None:
            return None if self._index is None else self._index.state_dict()

        def set_index(kept: dict) -> None:
            self._index = TrainingIndex.from_state_dict(kept)

        def set_agreement(kept: float) -> None:
            self._agreement = kept

        def set_estep_epoch(kept: int) -> None:
            self._estep_epoch = kept

        state.keep_object('ladder', self.ladder)
        state.keep_object('policy', self.policy)
        state.keep_object('signals', self._signals)
        state.keep('bank', bank, set_bank)
        state.keep_object('log', self._log)
        # Its smoothing is that of the ladder, which is there again.
        state.keep('hierarchy', hierarchy, set_hierarchy)
        state.keep('estep_epoch', lambda: self._estep_epoch, set_estep_epoch)
        state.keep('closing', lambda: self._closing, set_closing)
        state.keep(INDEX, index, set_index)
        state.keep_object(
            'means', self._means, per_rank=True, within_epoch=True
        )
        state.keep(
            'agreement',
            lambda: self._agreement,
            set_agreement,
            within_epoch=True,
        )
        return (unassigned[0], places) if unassigned else None

    # ---- helpers --------------------------------------------------------

    def _close(self, runner: Runner, epochs: int) -> None:
        """Make prototypes of the last weights; a collective call.

        Args:
            runner: The runner.
            epochs: Epochs that are done, the number of the next from 0.
        """
        model = unwrap(runner.model)
        previous = model.head.hierarchy
        if previous is None or self._closing is not None:
            return  # the run ends in its warm-up, or has ended
        if _fits_space(model):
            previous = None  # it is the first in the space of the features
        result = self._make_prototypes(
            runner, epochs, True, previous, closing=True
        )
        agreement = result.mean_agreement()
        self._keep_index(result, seed_from(runner.seed, INDEX, epochs))
        self._closing = dict(epoch=epochs, agreement=agreement)
        self._log.estep(runner, result, ends_after=epochs)

    def _run_estep(
        self,
        runner: Runner,
        previous: PrototypeHierarchy | None,
        places: Tensor | None = None,
    ) -> None:
        """Make the prototypes that the epoch to come trains with."""
        fresh = self._is_fresh(runner.epoch)
        self._last = self._make_prototypes(
            runner, runner.epoch, fresh, previous, places
        )
        self._agreement = self._last.mean_agreement()
        self._estep_epoch = runner.epoch
        self._log.estep(runner, self._last)

    def _keep_index(self, result: EStepResult, seed: int) -> None:
        """Keep what new images are compared with; a collective call."""
        features = whole_features(result.features)
        if is_main_process():
            self._index = TrainingIndex.of(
                features,
                result.hierarchy,
                linkage=self.linkage,
                settings=getattr(self._clustering, 'settings', None),
                seed=seed,
            )

    def _make_prototypes(
        self,
        runner: Runner,
        epoch: int,
        fresh: bool,
        previous: PrototypeHierarchy | None,
        places: Tensor | None = None,
        closing: bool = False,
    ) -> EStepResult:
        """Run the E-step of an epoch, from 0, and hand over what it gives."""
        model = unwrap(runner.model)
        result = self._estep.run(
            model,
            self.ladder.current,
            temperature=model.head.temperature,
            seed=runner.seed,
            epoch=epoch,
            previous=previous,
            places=places,
            fresh=fresh,
            closing=closing,
        )
        learnt = seed_from(runner.seed, 'prototypes', epoch)
        self._hand_over(model, result.hierarchy, learnt)
        return result

    def _start_estep(
        self, runner: Runner, previous: PrototypeHierarchy, places: Tensor
    ) -> None:
        """Assign all images, which a checkpoint from now on must hold."""
        runner.logger.info(
            'the images are not those of the checkpoint: an E-step assigns '
            'them, prototypes keep their numbers'
        )
        self._run_estep(runner, previous, places)
        self._done_at = runner.epoch

    def _hand_over(
        self,
        model: nn.Module,
        hierarchy: PrototypeHierarchy,
        seed: int | None = None,
    ) -> None:
        smoothing = self._smoothing.at(self.ladder)
        model.head.set_prototypes(hierarchy, smoothing, seed)

    def _keep_keys(
        self, model: nn.Module, num_images: int
    ) -> FeatureBank | None:
        if self.features == 'extract':
            return None
        return model.keep_keys(num_images)

    def _is_fresh(self, epoch: int) -> bool:
        """Whether an E-step extracts features though there is a bank."""
        done = epoch - self.warmup_epochs
        return falls_due(done, self.refresh_every, self.interval)

    def _serves(self, hierarchy: PrototypeHierarchy, epoch: int) -> bool:
        """Whether an epoch goes on with the prototypes at hand."""
        last = self._estep_epoch
        if last is None:  # 0.2.0 did not keep it, and counted from the warm-up
            due = (epoch - self.warmup_epochs) % self.interval == 0
        else:
            due = epoch - last >= self.interval
        fits = set(hierarchy.num_clusters) == set(self.ladder.current)
        return fits and not due


def _fits_space(model: nn.Module) -> bool:
    """Whether every E-step fits a space of its own for the clusters."""
    return getattr(model, 'cluster_space', None) is not None
