"""What ODC does around its steps."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TASK_UTILS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ahpcl.baselines.label_images import label_images, log_labels
from ahpcl.baselines.odc import OnlineDeepClustering
from ahpcl.core.clustering.cluster_weights import inverse_size_weights
from ahpcl.core.seeding import seed_from
from ahpcl.engine.extraction import build_extract_loader
from ahpcl.models.protocols import require
from ahpcl.runtime.mid_epoch import continues_epoch
from ahpcl.runtime.run_images import RunImages
from ahpcl.runtime.train_state import TrainState
from ahpcl.utils.ranks import unwrap


@HOOKS.register_module()
class OnlineClusteringHook(Hook):
    """Fills and keeps the memories of an :class:`OnlineDeepClustering`.

    At the start of a training that is not resumed, all images are clustered
    once, whatever weights they start from. All state is in the model's
    buffers. Replaces mmselfsup's ``DeepClusterHook`` with
    ``init_memory`` and its ``ODCHook``, which need CUDA and DDP; the latter
    weights the loss whatever its ``reweight`` and ``reweight_pow`` say.

    Args:
        extract_dataloader: Config of a loader over the training images, in
            order and all of them, with a deterministic pipeline.
        labels: Config of what makes the first labels of the neck's features,
            see :class:`KMeansLabels`.
        centroids_interval: Steps between two updates of all centroids.
        small_clusters_interval: Steps between two looks for small clusters.
        reweight: Weight the loss by cluster size to the power
            ``-reweight_pow``, after every step.
        reweight_pow: The power.

    Raises:
        ValueError: here or at the start of training, for settings that
            cannot work.
    """

    def __init__(
        self,
        extract_dataloader: dict | DataLoader,
        labels: dict | None = None,
        centroids_interval: int = 10,
        small_clusters_interval: int = 1,
        reweight: bool = True,
        reweight_pow: float = 0.5,
    ) -> None:
        if min(centroids_interval, small_clusters_interval) < 1:
            raise ValueError(
                'expected centroids_interval and small_clusters_interval of '
                f'at least 1, got {centroids_interval} and '
                f'{small_clusters_interval}'
            )
        if reweight_pow < 0:
            raise ValueError(
                f'expected reweight_pow of at least 0, got {reweight_pow}'
            )
        self.centroids_interval = centroids_interval
        self.small_clusters_interval = small_clusters_interval
        self.reweight = reweight
        self.reweight_pow = reweight_pow
        self._maker = TASK_UTILS.build(
            labels or dict(type='KMeansLabels', pca_dim=None)
        )
        if self._maker.reads != 'features':
            raise ValueError(
                "expected a maker of labels that reads 'features', got "
                f'{self._maker.reads!r}'
            )
        self._extract_config = extract_dataloader
        self._before: Tensor | None = None
        self._changed: list[Tensor] = []
        self._small = 0

    def before_run(self, runner: Runner) -> None:
        """Let there be a state before a checkpoint is loaded."""
        TrainState.of(runner)

    def before_train(self, runner: Runner) -> None:
        """Check everything; cluster all images unless resumed."""
        model = require(
            unwrap(runner.model),
            OnlineDeepClustering,
            "a model of type 'OnlineDeepClustering'",
            'leave the OnlineClusteringHook out of custom_hooks',
        )
        train = runner.train_loop.dataloader
        loader = build_extract_loader(self._extract_config, runner)
        self._maker.check(len(train.dataset), model.num_classes)
        state = TrainState.of(runner)
        state.keep(
            'changes', self._changes, self._set_changes, within_epoch=True
        )
        if not state.resumed:
            self._fill(runner, model, loader)
            return
        images = state.images(runner)
        if images.places is not None:
            self._follow(model, images)

    def before_train_epoch(self, runner: Runner) -> None:
        """Keep the labels, to compare them at the end of the epoch."""
        if continues_epoch(runner):
            return
        self._before = unwrap(runner.model).memory_bank.label_bank.clone()
        self._changed, self._small = [], 0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Update centroids, small clusters and loss weights."""
        model = unwrap(runner.model)
        self._changed.append(torch.as_tensor(outputs['change_ratio']))
        if self.every_n_train_iters(runner, self.centroids_interval):
            model.memory_bank.update_centroids_memory()
        if self.every_n_train_iters(runner, self.small_clusters_interval):
            self._small += model.memory_bank.deal_with_small_clusters(
                seed_from(runner.seed, 'small', runner.iter)
            )
        self._weight(model)

    def after_train_epoch(self, runner: Runner) -> None:
        """Write how the clusters moved."""
        model = unwrap(runner.model)
        log_labels(
            runner,
            f'labels after epoch {runner.epoch + 1}',
            model.memory_bank.label_bank,
            model.num_classes,
            previous=self._before,
            scalars=dict(
                change_ratio=float(
                    torch.stack([one.cpu() for one in self._changed]).mean()
                ),
                small_clusters=self._small,
            ),
        )

    def _changes(self) -> dict:
        """How the clusters moved in the epoch so far."""
        return dict(
            before=self._before,
            changed=[float(ratio) for ratio in self._changed],
            small=self._small,
        )

    def _set_changes(self, kept: dict) -> None:
        self._before = kept['before']
        self._changed = [torch.tensor(ratio) for ratio in kept['changed']]
        self._small = kept['small']

    def _follow(self, model: nn.Module, images: RunImages) -> None:
        """Bring the memories into the order of the images.

        Raises:
            ValueError: If there are new ones, of which nothing is known.
        """
        places = images.places
        if bool((places < 0).any()) or len(places) != len(model.memory_bank):
            raise ValueError(
                'expected the images of the checkpoint, of which ODC keeps '
                f'features and labels, got {images.changes.describe()}; put '
                'them back, or start from its weights with load_from=... and '
                'resume=False'
            )
        model.memory_bank.reorder(places)

    def _fill(
        self, runner: Runner, model: nn.Module, loader: DataLoader
    ) -> None:
        found = label_images(
            model,
            loader,
            self._maker,
            model.encode_neck,
            model.num_classes,
            seed=seed_from(runner.seed, 'labels', 'first'),
        )
        log_labels(
            runner,
            'first labels',
            found.labels,
            model.num_classes,
            scalars=dict(
                seconds_extract=found.extract_seconds,
                seconds_label=found.label_seconds,
            ),
        )
        model.memory_bank.init_memory(found.rows, found.labels)
        # One that came with a checkpoint knows other clusters.
        model.reset_head(seed_from(runner.seed, 'head', 'first'))
        self._weight(model)

    def _weight(self, model: nn.Module) -> None:
        weight = None
        if self.reweight:
            sizes = model.memory_bank.sizes()
            weight = inverse_size_weights(sizes, self.reweight_pow)
        model.set_loss_weight(weight)
