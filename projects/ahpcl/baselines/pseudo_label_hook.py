"""Labels all images before an epoch, for classifiers of clusters."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TASK_UTILS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ahpcl.baselines.label_images import Labelling, label_images, log_labels
from ahpcl.baselines.pseudo_label import PseudoLabelClassifier
from ahpcl.core.clustering.cluster_weights import inverse_size_weights
from ahpcl.core.seeding import seed_from
from ahpcl.engine.extraction import build_extract_loader
from ahpcl.models.protocols import require
from ahpcl.runtime.mid_epoch import continues_epoch
from ahpcl.runtime.optimizer_state import forget_steps
from ahpcl.runtime.train_state import TrainState
from ahpcl.utils.ranks import unwrap


@HOOKS.register_module()
class PseudoLabelHook(Hook):
    """The clustering step of DeepCluster and its relatives.

    Before an epoch it extracts all images on all ranks, makes labels on rank
    0 and hands them to a :class:`PseudoLabelClassifier`. The labels are part
    of the :class:`TrainState`.

    Replaces mmselfsup's ``DeepClusterHook``, which needs CUDA, DDP
    and faiss-gpu, and writes labels into the data set, of which persistent
    workers hold old copies.

    Args:
        extract_dataloader: Config of a loader over the training images, in
            order and all of them, with a deterministic pipeline.
        labels: Config of what makes the labels, see :class:`KMeansLabels`.
        interval: Epochs between two labellings.
        reset_head: Initialise the classifier afresh with the labels and
            forget its optimizer state, as numbers of clusters mean nothing
            from one k-means to the next.
        uniform_sampling: Show every cluster equally often; the sampler is a
            :class:`UniformClusterSampler`.
        reweight: Weight the loss by cluster size to the power
            ``-reweight_pow``.
        reweight_pow: The power.

    Raises:
        ValueError: here or at the start of training, for settings that
            cannot work.
    """

    def __init__(
        self,
        extract_dataloader: dict | DataLoader,
        labels: dict | None = None,
        interval: int = 1,
        reset_head: bool = True,
        uniform_sampling: bool = True,
        reweight: bool = False,
        reweight_pow: float = 0.5,
    ) -> None:
        if interval < 1 or reweight_pow < 0:
            raise ValueError(
                'expected interval of at least 1 and reweight_pow of at least '
                f'0, got {interval} and {reweight_pow}'
            )
        self.interval = interval
        self.reset_head = reset_head
        self.uniform_sampling = uniform_sampling
        self.reweight = reweight
        self.reweight_pow = reweight_pow
        self._maker = TASK_UTILS.build(labels or dict(type='KMeansLabels'))
        if self._maker.reads not in ('features', 'logits'):
            raise ValueError(
                "expected a maker of labels that reads 'features' or "
                f"'logits', got {self._maker.reads!r}"
            )
        self._extract_config = extract_dataloader
        self._loader: DataLoader | None = None
        self._done_at: int | None = None  # epoch whose labels came earlier

    def before_run(self, runner: Runner) -> None:
        """Let there be a state before a checkpoint is loaded."""
        TrainState.of(runner)

    def before_train(self, runner: Runner) -> None:
        """Build and check everything; declare the labels as state."""
        model = require(
            unwrap(runner.model),
            PseudoLabelClassifier,
            "a model of type 'PseudoLabelClassifier'",
            'leave the PseudoLabelHook out of custom_hooks',
        )
        train = runner.train_loop.dataloader
        if self.uniform_sampling and not hasattr(
            train.sampler, 'set_uniform_indices'
        ):
            raise ValueError(
                'expected a sampler with set_uniform_indices, got '
                f'{type(train.sampler).__name__}; set train_dataloader.'
                "sampler=dict(type='UniformClusterSampler') or "
                'uniform_sampling=False'
            )
        self._loader = build_extract_loader(self._extract_config, runner)
        self._maker.check(len(train.dataset), model.num_classes)
        state = TrainState.of(runner)
        images = state.images(runner)
        again = False

        def pseudo_labels() -> Tensor | None:
            labels = model.pseudo_labels
            return None if labels is None else labels.int()

        def set_pseudo_labels(labels: Tensor) -> None:
            nonlocal again
            images.check_number(len(labels))
            places = images.places
            if places is not None and bool((places < 0).any()):
                again = True
                return
            if places is not None:
                labels = labels.cpu()[places]
            self._hand_over(runner, model, labels)

        state.keep('pseudo_labels', pseudo_labels, set_pseudo_labels)
        if again:
            runner.logger.info(
                'the images are not those of the checkpoint: all of them are '
                'labelled again'
            )
            self._label(runner, None)
            self._done_at = runner.epoch

    def before_train_epoch(self, runner: Runner) -> None:
        """Label all images, if it is time for it."""
        if continues_epoch(runner) or self._done_at == runner.epoch:
            return
        previous = unwrap(runner.model).pseudo_labels
        if previous is not None and runner.epoch % self.interval:
            return
        self._label(runner, previous)

    def _label(self, runner: Runner, previous: Tensor | None) -> None:
        model = unwrap(runner.model)
        logits = self._maker.reads == 'logits'
        found = label_images(
            model,
            self._loader,
            self._maker,
            model.encode_logits if logits else model.encode_features,
            model.num_classes,
            seed=seed_from(runner.seed, 'labels', runner.epoch),
        )
        self._log(runner, model, found, previous)
        self._hand_over(runner, model, found.labels)
        if self.reset_head:
            model.reset_head(seed_from(runner.seed, 'head', runner.epoch))
            forget_steps(
                runner.optim_wrapper.optimizer, model.head.parameters()
            )

    def _hand_over(
        self, runner: Runner, model: nn.Module, labels: Tensor
    ) -> None:
        labels = labels.cpu().long()
        weight = None
        if self.reweight:
            sizes = torch.bincount(labels, minlength=model.num_classes)
            weight = inverse_size_weights(sizes, self.reweight_pow)
        model.set_pseudo_labels(labels, weight)
        if self.uniform_sampling:
            sampler = runner.train_loop.dataloader.sampler
            sampler.set_uniform_indices(labels, model.num_classes)

    def _log(
        self,
        runner: Runner,
        model: nn.Module,
        found: Labelling,
        previous: Tensor | None,
    ) -> None:
        log_labels(
            runner,
            f'labels before epoch {runner.epoch + 1}',
            found.labels,
            model.num_classes,
            previous=previous,
            scalars=dict(
                seconds_extract=found.extract_seconds,
                seconds_label=found.label_seconds,
            ),
        )
